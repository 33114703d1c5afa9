"""Admissions for a chunk of a batch on a target's shard, many lines at once. An admission is the promise that the
account will accept this credit; it is then credited or withdrawn.

Each call belongs to one transaction, so a crash leaves all of it or nothing. The states are those of
`shards.transfers.admissions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from domain.accounts import why_not_receive
from domain.errors import StaleRoute
from domain.events import AccountEvent, Aggregate
from domain.identifiers import transfer_saga_id
from domain.sagas import ALREADY_COMPENSATED, Reason, Refusal
from domain.transfer_batch import Line, batch_workflow_id
from shards.connections.database_errors import IntegrityViolation
from shards.routing.bulk_transaction import BulkTransaction, array_literal, bigint_array, text_array
from shards.transfers.batch.deciding import BatchRound, open_clearing, unit_of
from shards.transfers.batch.lines import Routes

_LOOK_AT_ACCOUNTS = text(f"""
    SELECT id, currency, state FROM account
    WHERE id = ANY({text_array("ids")}) AND kind IN ('customer', 'merchant') ORDER BY id FOR KEY SHARE
""")
_ADMIT = text(f"""
    INSERT INTO admission (saga_id, account_id, keyspace, slot, currency, amount, state, reason, detail, batch_id)
    SELECT saga_id, account_id, keyspace, slot, currency, amount,
           CASE WHEN reason IS NULL THEN 'open' ELSE 'refused' END, reason, detail, :batch_id
    FROM unnest({text_array("saga_ids")}, {text_array("account_ids")}, {text_array("currencies")},
                {bigint_array("amounts")}) AS given (saga_id, account_id, currency, amount)
    JOIN unnest({text_array("accounts")}, {text_array("keyspaces")}, {text_array("slots")})
        AS slots (account_id, keyspace, slot) USING (account_id)
    LEFT JOIN unnest(CAST(:refused AS text[]), CAST(:reasons AS text[]), CAST(:details AS text[]))
        AS refused (saga_id, reason, detail) USING (saga_id)
    ON CONFLICT DO NOTHING
""")
_STORED = text(f"""
    SELECT saga_id, account_id, currency, amount, state, reason, detail FROM admission
    WHERE saga_id = ANY({text_array("saga_ids")})
""")
_ADMITTED = text(f"SELECT saga_id FROM admission WHERE saga_id = ANY({text_array('saga_ids')})")
_LOCK_ACCOUNTS = text(f"""
    SELECT id FROM account WHERE id = ANY({text_array("ids")}) ORDER BY id FOR NO KEY UPDATE
""")
_CREDIT = text(f"""
    WITH credited AS (
        UPDATE admission SET state = 'credited'
        WHERE saga_id = ANY({text_array("saga_ids")}) AND state = 'open'
        RETURNING saga_id, account_id, currency, amount, nextval('movement_id_seq') AS movement_id
    ), moved AS (
        INSERT INTO movement (id, saga_id, kind, currency) OVERRIDING SYSTEM VALUE
        SELECT movement_id, saga_id, 'credit', currency FROM credited
    ), entries AS (
        INSERT INTO entry (movement_id, n, account_id, currency, amount)
        SELECT movement_id, side.n, side.account_id, currency, side.amount FROM credited
        CROSS JOIN LATERAL (
            VALUES (1, credited.account_id, credited.amount), (2, 'clearing/' || currency, -credited.amount)
        ) AS side (n, account_id, amount)
    ), legs AS (
        INSERT INTO clearing_leg (saga_id, role, currency, amount, peer, movement_id)
        SELECT saga_id, 'second', currency, -amount, split_part(saga_id, '/', 2), movement_id FROM credited
    ), received AS (
        SELECT account_id, CAST(sum(amount) AS bigint) AS amount FROM credited GROUP BY account_id
    ), noted AS (
        INSERT INTO batch_credit (batch_id, round, account_id, amount)
        SELECT :batch_id, CAST(:round AS smallint), account_id, amount FROM received
        ON CONFLICT (batch_id, round, account_id) DO UPDATE SET amount = batch_credit.amount + excluded.amount
    ), posted AS (
        UPDATE account SET posted = posted + received.amount, version = version + 1
        FROM received WHERE account.id = received.account_id
        RETURNING account.id, currency, version, received.amount
    ), appended AS (
        INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
        SELECT :shard, :saga_id, '{Aggregate.ACCOUNT}', id, version, '{AccountEvent.TRANSFERS_POSTED}',
               jsonb_build_object('amount', CAST(amount * unit AS text) || ' ' || currency)
        FROM posted
        JOIN unnest(CAST(:currencies AS text[]), CAST(:units AS numeric[])) AS units (currency, unit) USING (currency)
    )
    SELECT count(*) FROM credited
""")
_NOT_CREDITED = text(f"""
    SELECT saga_id FROM unnest({text_array("saga_ids")}) AS given (saga_id)
    WHERE NOT EXISTS (SELECT FROM admission AS a WHERE a.saga_id = given.saga_id AND state = 'credited') LIMIT 1
""")
# Not an admission that another transfer of the same id left open.
_WITHDRAW = text(f"""
    UPDATE admission SET state = 'withdrawn'
    FROM unnest({text_array("saga_ids")}, {text_array("account_ids")}, {text_array("currencies")},
                {bigint_array("amounts")}) AS given (saga_id, account_id, currency, amount)
    WHERE admission.saga_id = given.saga_id AND admission.account_id = given.account_id
      AND admission.currency = given.currency AND admission.amount = given.amount AND state = 'open'
""")
_FORGET = text(f"""
    DELETE FROM admission
    USING unnest({text_array("saga_ids")}, {text_array("account_ids")}, {text_array("currencies")},
                 {bigint_array("amounts")}) AS given (saga_id, account_id, currency, amount)
    WHERE admission.saga_id = given.saga_id AND admission.account_id = given.account_id
      AND admission.currency = given.currency AND admission.amount = given.amount AND state IN ('open', 'refused')
""")


async def admit(tx: BulkTransaction, batch_id: str, lines: Sequence[Line], routes: Routes) -> dict[int, Refusal]:
    """Promises that the targets will accept. Returns refusals by line. Idempotent by saga id, refusals included.

    Undone by `withdraw`, kept by `credit`.
    """
    accounts = sorted({line.target for line in lines})
    found = {row.id: row for row in await tx.execute(_LOOK_AT_ACCOUNTS, ids=array_literal(accounts))}
    refused = {
        line.n: refusal
        for line in lines
        if (refusal := why_not_receive(line.target, found.get(line.target), line.currency)) is not None
    }
    saga_ids = [transfer_saga_id(line.source, line.transfer_id) for line in lines if line.n in refused]
    admitted = await tx.execute(
        _ADMIT,
        **_given(lines),
        batch_id=batch_id,
        refused=saga_ids,
        reasons=[refusal.reason.value for refusal in refused.values()],
        details=[refusal.detail for refusal in refused.values()],
        accounts=array_literal(accounts),
        keyspaces=array_literal(routes[account].keyspace.value for account in accounts),
        slots=array_literal(routes[account].slot for account in accounts),
    )
    if admitted.rowcount != len(lines):
        refused = await _stored_refusals(tx, lines)
    await tx.assert_owned([routes[account] for account in accounts])
    return refused


async def credit(tx: BulkTransaction, batch_round: BatchRound, lines: Sequence[Line], routes: Routes) -> None:
    """clearing -amount, target +amount, for lines that were confirmed. Forward only, cannot be refused.

    Idempotent by saga id. Records by round what each account has received, for `debit`. Lines without an admission are
    admitted again: this shard was restored to a time before it. `IntegrityViolation` if a line was refused or
    withdrawn.
    """
    currencies = sorted({line.currency for line in lines})
    await open_clearing(tx, currencies)
    accounts = sorted({line.target for line in lines})
    if len((await tx.execute(_LOCK_ACCOUNTS, ids=array_literal(accounts))).all()) < len(accounts):
        raise StaleRoute(f"an account of the batch is not on {tx.shard}")
    saga_ids = array_literal(transfer_saga_id(line.source, line.transfer_id) for line in lines)
    wanted = {
        "shard": tx.shard,
        "saga_id": batch_workflow_id(batch_round.batch_id),
        "saga_ids": saga_ids,
        "batch_id": batch_round.batch_id,
        "round": int(batch_round.round),
        "currencies": currencies,
        "units": [unit_of(currency) for currency in currencies],
    }
    if (await tx.execute(_CREDIT, **wanted)).scalar_one() != len(lines):
        if forgotten := await _without_admission(tx, lines):
            await admit(tx, batch_round.batch_id, forgotten, routes)
            await tx.execute(_CREDIT, **wanted)
        missing = (await tx.execute(_NOT_CREDITED, saga_ids=saga_ids)).scalar_one_or_none()
        if missing is not None:
            raise IntegrityViolation(f"{missing}: was confirmed, but its admission is not open")
    await tx.assert_owned([routes[account] for account in accounts])


async def _without_admission(tx: BulkTransaction, lines: Sequence[Line]) -> list[Line]:
    known = set((await tx.execute(_ADMITTED, saga_ids=_given(lines)["saga_ids"])).scalars())
    return [line for line in lines if transfer_saga_id(line.source, line.transfer_id) not in known]


async def withdraw(tx: BulkTransaction, lines: Sequence[Line], routes: Routes) -> None:
    """Withdraws the promises for lines that were declined. Idempotent."""
    await tx.execute(_WITHDRAW, **_given(lines))
    await tx.assert_owned([routes[line.target] for line in lines])


async def forget(tx: BulkTransaction, lines: Sequence[Line], routes: Routes) -> None:
    """Removes admissions for lines whose id another transfer has taken: no transfer will use them. Idempotent."""
    await tx.execute(_FORGET, **_given(lines))
    await tx.assert_owned([routes[line.target] for line in lines])


async def _stored_refusals(tx: BulkTransaction, lines: Sequence[Line]) -> dict[int, Refusal]:
    """Refusals by line as stored, if some admissions were there already."""
    rows = {row.saga_id: row for row in await tx.execute(_STORED, saga_ids=_given(lines)["saga_ids"])}
    refused = {}
    for line in lines:
        refusal = _refusal_of(line, rows[transfer_saga_id(line.source, line.transfer_id)])
        if refusal is not None:
            refused[line.n] = refusal
    return refused


def _refusal_of(line: Line, row: Any) -> Refusal | None:
    if (row.account_id, row.currency, row.amount) != (line.target, line.currency, line.amount):
        return Refusal(Reason.ID_CONFLICT, f"{row.saga_id} is being admitted with other content")
    # If it is credited, its source's shard has the transfer, which `debit` will find, or had it before it was restored.
    if row.state == "refused":
        return Refusal(Reason(row.reason), row.detail)
    return ALREADY_COMPENSATED if row.state == "withdrawn" else None


def _given(lines: Sequence[Line]) -> dict[str, str]:
    return {
        "saga_ids": array_literal(transfer_saga_id(line.source, line.transfer_id) for line in lines),
        "account_ids": array_literal(line.target for line in lines),
        "currencies": array_literal(line.currency for line in lines),
        "amounts": array_literal(line.amount for line in lines),
    }
