"""Double entry on one shard: each movement sums to zero there, at every instant.

Money for an account of another shard leaves through clearing: capture or debit = source -X, clearing +X; credit =
clearing -X, target +X. The two clearing legs of a saga show what is in flight. Payments of orders always go through
clearing, even if customer and merchant share a shard.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import StaleRoute
from domain.identifiers import clearing_account_id
from domain.money import Money
from shards.routing.shard_transaction import ShardTransaction

_POST = text("""
    UPDATE account SET posted = posted + :amount, held = held - :held, version = version + 1
    WHERE id = :id RETURNING version
""")
# The first movement that needs the clearing account opens it; foreign keys are checked when the statement ends.
_MOVE_THROUGH_CLEARING = text("""
    WITH opened AS (
        INSERT INTO account (id, kind, currency) VALUES (:clearing, 'clearing', :currency) ON CONFLICT DO NOTHING
    ), moved AS (
        INSERT INTO movement (saga_id, kind, currency) VALUES (:saga_id, :kind, :currency) RETURNING id
    ), entries AS (
        INSERT INTO entry (movement_id, n, account_id, currency, amount)
        SELECT moved.id, line.n, line.account_id, :currency, line.amount
        FROM moved, (VALUES (1, CAST(:account_id AS text), -CAST(:to_clearing AS bigint)),
                            (2, CAST(:clearing AS text), CAST(:to_clearing AS bigint))) AS line (n, account_id, amount)
    )
    INSERT INTO clearing_leg (saga_id, role, currency, amount, peer, movement_id)
    SELECT :saga_id, :role, :currency, CAST(:to_clearing AS bigint), :peer, moved.id FROM moved
""")
_OPEN_CLEARING = text("""
    INSERT INTO account (id, kind, currency)
    SELECT CAST(:clearing AS text), 'clearing', CAST(:currency AS text)
    WHERE NOT EXISTS (SELECT FROM account WHERE id = CAST(:clearing AS text)) ON CONFLICT DO NOTHING
""")
_MOVE_WITHIN = text("""
    WITH moved AS (
        INSERT INTO movement (saga_id, kind, currency) VALUES (:saga_id, 'transfer', :currency) RETURNING id
    )
    INSERT INTO entry (movement_id, n, account_id, currency, amount)
    SELECT moved.id, line.n, line.account_id, :currency, line.amount
    FROM moved, (VALUES (1, CAST(:source AS text), -CAST(:amount AS bigint)),
                        (2, CAST(:target AS text), CAST(:amount AS bigint))) AS line (n, account_id, amount)
""")


async def open_clearing(connection: AsyncConnection, currency: str) -> None:
    """Opens the clearing account before a transaction that will be prepared. Commits by itself. Idempotent.

    If the prepared transaction opened the account itself, every other movement of the currency on this shard would
    wait until it is decided.
    """
    await connection.execute(_OPEN_CLEARING, {"clearing": clearing_account_id(currency), "currency": currency})


async def capture(tx: ShardTransaction, saga_id: str, account_id: str, amount: Money, peer: str) -> int:
    """account -amount, clearing +amount, with the `first` leg: held money leaves. Returns the account's new version."""
    await _through_clearing(tx, saga_id, "capture", "first", account_id, amount, peer)
    return await _post(tx, account_id, -amount, held=amount.minor)


async def debit(tx: ShardTransaction, saga_id: str, account_id: str, amount: Money, peer: str) -> int:
    """Like `capture`, for money that was not held. First lock the account and check that it can spend the amount."""
    await _through_clearing(tx, saga_id, "debit", "first", account_id, amount, peer)
    return await _post(tx, account_id, -amount)


async def credit(tx: ShardTransaction, saga_id: str, account_id: str, amount: Money, peer: str) -> int:
    """clearing -amount, account +amount, with the `second` leg. Returns the account's new version.

    Forward only, and cannot be refused: a freeze does not stop it, what was promised is paid. Raises `StaleRoute` if
    the account is not here, so that the step is routed again.
    """
    version = await _post(tx, account_id, amount)
    await _through_clearing(tx, saga_id, "credit", "second", account_id, -amount, peer)
    return version


async def move(tx: ShardTransaction, saga_id: str, source: str, target: str, amount: Money) -> tuple[int, int]:
    """source -amount, target +amount, both on this shard. Returns their new versions. First lock both, in id order."""
    await tx.execute(
        _MOVE_WITHIN, saga_id=saga_id, currency=amount.currency, source=source, target=target, amount=amount.minor
    )
    return await _post(tx, source, -amount), await _post(tx, target, amount)


async def _post(tx: ShardTransaction, account_id: str, amount: Money, held: int = 0) -> int:
    """`held`: how many minor units of the amount were held."""
    version = (await tx.execute(_POST, id=account_id, amount=amount.minor, held=held)).scalar_one_or_none()
    if version is None:
        raise StaleRoute(f"account {account_id} is not on {tx.route.shard}")
    return int(version)


async def _through_clearing(
    tx: ShardTransaction, saga_id: str, kind: str, role: str, account_id: str, to_clearing: Money, peer: str
) -> None:
    """One movement of two entries between the account and clearing, with its leg. The caller posts to the account.

    (saga id, kind) is unique: a second movement of the same kind is a constraint error.
    """
    await tx.execute(
        _MOVE_THROUGH_CLEARING,
        saga_id=saga_id,
        kind=kind,
        role=role,
        account_id=account_id,
        clearing=clearing_account_id(to_clearing.currency),
        currency=to_clearing.currency,
        to_clearing=to_clearing.minor,
        peer=peer,
    )
