"""A chunk of a batch on its source's shard: its transfers are decided in the order of the file, and debited.

In one transaction: the transfers' rows are inserted as confirmed or declined, with movements, entries, clearing legs,
the accounts' new balances and the events. A crash leaves all of it or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from domain.accounts import why_not_receive
from domain.currencies import DECIMALS
from domain.errors import TryAgain
from domain.events import AccountEvent, Aggregate, TransferEvent
from domain.identifiers import clearing_account_id
from domain.sagas import Refusal
from domain.transfer_batch import Decided, Decisions, Line, Round, batch_workflow_id, decide
from shards.routing.bulk_transaction import BulkTransaction, array_literal, bigint_array, text_array
from shards.transfers.batch.lines import Routes

_OPEN_CLEARING = text("""
    INSERT INTO account (id, kind, currency)
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:kinds AS text[]), CAST(:currencies AS text[]))
    ON CONFLICT DO NOTHING
""")
_LOCK_ACCOUNTS = text(f"""
    SELECT id, currency, state, posted - held + overdraft AS available FROM account
    WHERE id = ANY({text_array("ids")}) AND kind IN ('customer', 'merchant') ORDER BY id FOR NO KEY UPDATE
""")
# A statement of its own, so that its snapshot is taken after the accounts are locked. `round >= :round`, since a late
# attempt of the first round may run after the second has credited accounts, and must not spend that.
_CREDITS = text(f"""
    SELECT account_id, CAST(sum(amount) AS bigint) AS amount FROM batch_credit
    WHERE batch_id = :batch_id AND round >= :round AND account_id = ANY({text_array("ids")}) GROUP BY account_id
""")
_WRITE_TRANSFERS = text(f"""
    WITH decided AS MATERIALIZED (
        SELECT line.*, slots.keyspace, slots.slot, refused.reason, refused.detail,
               CASE WHEN refused.n IS NULL THEN 'confirmed' ELSE 'declined' END AS state,
               CASE WHEN local.n IS NULL THEN 'bulk' ELSE 'local' END AS protocol,
               CAST(line.amount * unit AS text) || ' ' || line.currency AS written
        FROM unnest({bigint_array("ns")}) AS given (n)
        JOIN batch_line AS line ON line.batch_id = :batch_id AND line.n = given.n AND line.n BETWEEN :first AND :last
        JOIN unnest({text_array("sources")}, {text_array("keyspaces")}, {text_array("slots")})
            AS slots (source, keyspace, slot) USING (source)
        LEFT JOIN unnest({bigint_array("local")}) AS local (n) ON local.n = given.n
        LEFT JOIN unnest(CAST(:refused AS bigint[]), CAST(:reasons AS text[]), CAST(:details AS text[]))
            AS refused (n, reason, detail) ON refused.n = given.n
        JOIN unnest(CAST(:currencies AS text[]), CAST(:units AS numeric[])) AS units (currency, unit) USING (currency)
        ORDER BY line.n
    ), appended AS (
        INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
        SELECT :shard, 'transfer/' || source || '/' || transfer_id,
               '{Aggregate.TRANSFER}', source || '/' || transfer_id, 1,
               CASE WHEN reason IS NULL THEN '{TransferEvent.CONFIRMED}' ELSE '{TransferEvent.DECLINED}' END,
               jsonb_strip_nulls(jsonb_build_object(
                   'target', target, 'amount', written, 'protocol', protocol, 'batch', batch_id, 'reason', reason))
        FROM decided
    )
    INSERT INTO transfer (source, id, keyspace, slot, target, currency, amount, reference, content_hash, protocol,
                          batch_id, state, reason, detail, decided_at)
    SELECT source, transfer_id, keyspace, slot, target, currency, amount, reference, content_hash, protocol,
           batch_id, state, reason, detail, now()
    FROM decided ON CONFLICT DO NOTHING
""")
_MOVE = text(f"""
    WITH confirmed AS MATERIALIZED (
        SELECT line.*, local.n IS NOT NULL AS is_local, 'transfer/' || source || '/' || transfer_id AS saga_id,
               nextval('movement_id_seq') AS movement_id
        FROM unnest({bigint_array("ns")}) AS given (n)
        JOIN batch_line AS line ON line.batch_id = :batch_id AND line.n = given.n AND line.n BETWEEN :first AND :last
        LEFT JOIN unnest({bigint_array("local")}) AS local (n) ON local.n = given.n
    ), moved AS (
        INSERT INTO movement (id, saga_id, kind, currency) OVERRIDING SYSTEM VALUE
        SELECT movement_id, saga_id, CASE WHEN is_local THEN 'transfer' ELSE 'debit' END, currency FROM confirmed
    ), entries AS (
        INSERT INTO entry (movement_id, n, account_id, currency, amount)
        SELECT movement_id, side.n, side.account_id, currency, side.amount FROM confirmed
        CROSS JOIN LATERAL (
            VALUES (1, source, -confirmed.amount),
                   (2, CASE WHEN is_local THEN target ELSE 'clearing/' || currency END, confirmed.amount)
        ) AS side (n, account_id, amount)
    )
    INSERT INTO clearing_leg (saga_id, role, currency, amount, peer, movement_id)
    SELECT saga_id, 'first', currency, amount, target, movement_id FROM confirmed WHERE NOT is_local
""")
_POST = text(f"""
    WITH posted AS (
        UPDATE account SET posted = posted + net.amount, version = version + 1
        FROM unnest({text_array("ids")}, {bigint_array("amounts")})
            AS net (account_id, amount)
        WHERE account.id = net.account_id RETURNING account.id, currency, version, net.amount
    )
    INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
    SELECT :shard, :saga_id, '{Aggregate.ACCOUNT}', id, version, '{AccountEvent.TRANSFERS_POSTED}',
           jsonb_build_object('amount', CAST(amount * unit AS text) || ' ' || currency)
    FROM posted
    JOIN unnest(CAST(:currencies AS text[]), CAST(:units AS numeric[])) AS units (currency, unit) USING (currency)
""")
# What this round has credited, so that the same round does not spend it.
_NOTE_CREDITS = text(f"""
    INSERT INTO batch_credit (batch_id, round, account_id, amount)
    SELECT :batch_id, :round, *
    FROM unnest({text_array("ids")}, {bigint_array("amounts")})
    ON CONFLICT (batch_id, round, account_id) DO UPDATE SET amount = batch_credit.amount + excluded.amount
""")
_POSTPONE = text("""
    INSERT INTO batch_postponed (batch_id, n) SELECT :batch_id, unnest(CAST(:ns AS bigint[])) ON CONFLICT DO NOTHING
""")


@dataclass(frozen=True, slots=True)
class BatchRound:
    """One round of a batch."""

    batch_id: str
    round: Round


async def decide_and_debit(
    tx: BulkTransaction,
    batch_round: BatchRound,
    lines: Sequence[Line],
    not_admitted: Mapping[int, Refusal],
    routes: Routes,
) -> Decisions:
    """Decides `lines`, which have no transfer yet, and writes all that follows on this shard.

    `not_admitted` maps line numbers to the refusal by the target's shard. Targets on this shard are checked here.
    `TryAgain` if one of the ids was taken meanwhile; `StaleRoute` if an account is not on this shard.
    """
    local = {line.n for line in lines if routes[line.target].shard == tx.shard}
    currencies = sorted({line.currency for line in lines})
    # The fence needs a transaction id: this insert gives one, or the row locks after it.
    await open_clearing(tx, currencies)
    accounts = {line.source for line in lines} | {line.target for line in lines if line.n in local}
    ids = array_literal(accounts)
    found = {row.id: row for row in await tx.execute(_LOCK_ACCOUNTS, ids=ids)}
    credits = {row.account_id: row.amount for row in await tx.execute(_CREDITS, ids=ids, **_key(batch_round))}
    refused = _refused(lines, found, local, not_admitted)
    spendable = {key: account.available - credits.get(key, 0) for key, account in found.items()}
    decisions = decide(lines, spendable, refused, batch_round.round)
    await _write(tx, batch_round, decisions, local, routes, currencies)
    await tx.assert_owned(routes[account] for account in accounts)
    return decisions


async def open_clearing(tx: BulkTransaction, currencies: Sequence[str]) -> None:
    """Opens the shard's clearing accounts of these currencies. Idempotent."""
    ids = [clearing_account_id(currency) for currency in currencies]
    await tx.execute(_OPEN_CLEARING, ids=ids, kinds=["clearing"] * len(ids), currencies=list(currencies))


def unit_of(currency: str) -> Decimal:
    """One minor unit, with the currency's number of decimals."""
    return Decimal(1).scaleb(-DECIMALS[currency])


def _refused(
    lines: Sequence[Line], found: Mapping[str, Any], local: set[int], not_admitted: Mapping[int, Refusal]
) -> dict[int, Refusal]:
    refused: dict[int, Refusal] = {}
    for line in lines:
        # Whether the account can take part at all; whether its money suffices, `decide` says.
        refusal = why_not_receive(line.source, found.get(line.source), line.currency) or not_admitted.get(line.n)
        if refusal is None and line.n in local:
            refusal = why_not_receive(line.target, found.get(line.target), line.currency)
        if refusal is not None:
            refused[line.n] = refusal
    return refused


async def _write(
    tx: BulkTransaction,
    batch_round: BatchRound,
    decisions: Decisions,
    local: set[int],
    routes: Routes,
    currencies: Sequence[str],
) -> None:
    units = {"currencies": list(currencies), "units": [unit_of(currency) for currency in currencies]}
    if decisions.decided:
        await _write_transfers(tx, batch_round, decisions.decided, local, routes, units)
    confirmed = [each.line for each in decisions.decided if each.refusal is None]
    if confirmed:
        await tx.execute(_MOVE, batch_id=batch_round.batch_id, local=array_literal(local), **_numbers(confirmed))
        await _post(tx, batch_round, confirmed, local, units)
    if decisions.postponed:
        await tx.execute(_POSTPONE, batch_id=batch_round.batch_id, ns=[line.n for line in decisions.postponed])


async def _write_transfers(
    tx: BulkTransaction,
    batch_round: BatchRound,
    decided: Sequence[Decided],
    local: set[int],
    routes: Routes,
    units: Mapping[str, Any],
) -> None:
    sources = list({each.line.source for each in decided})
    refused = [(each.line.n, each.refusal) for each in decided if each.refusal is not None]
    written = await tx.execute(
        _WRITE_TRANSFERS,
        shard=tx.shard,
        batch_id=batch_round.batch_id,
        local=array_literal(local),
        **_numbers([each.line for each in decided]),
        refused=[n for n, _ in refused],
        reasons=[refusal.reason.value for _, refusal in refused],
        details=[refusal.detail for _, refusal in refused],
        sources=array_literal(sources),
        keyspaces=array_literal(routes[source].keyspace.value for source in sources),
        slots=array_literal(routes[source].slot for source in sources),
        **units,
    )
    if written.rowcount != len(decided):
        raise TryAgain("another transaction has just begun a transfer of the batch")


async def _post(
    tx: BulkTransaction, batch_round: BatchRound, confirmed: Sequence[Line], local: set[int], units: Mapping[str, Any]
) -> None:
    net: dict[str, int] = {}
    received: dict[str, int] = {}
    for line in confirmed:
        net[line.source] = net.get(line.source, 0) - line.amount
        if line.n in local:
            net[line.target] = net.get(line.target, 0) + line.amount
            received[line.target] = received.get(line.target, 0) + line.amount
    saga_id = batch_workflow_id(batch_round.batch_id)
    await tx.execute(
        _POST, shard=tx.shard, saga_id=saga_id, ids=array_literal(net), amounts=array_literal(net.values()), **units
    )
    if received:
        await tx.execute(
            _NOTE_CREDITS, ids=array_literal(received), amounts=array_literal(received.values()), **_key(batch_round)
        )


def _numbers(lines: Sequence[Line]) -> dict[str, Any]:
    """The lines' numbers, with the first and the last to narrow the scan."""
    return {"ns": array_literal(line.n for line in lines), "first": lines[0].n, "last": lines[-1].n}


def _key(batch_round: BatchRound) -> dict[str, Any]:
    return {"batch_id": batch_round.batch_id, "round": int(batch_round.round)}
