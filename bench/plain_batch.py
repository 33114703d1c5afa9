"""The same transfers and rows by the best SQL we know, without Temporal, for comparison only: one COPY and one
transaction per shard, all set-based. If it is killed halfway, money has left and not arrived, and running it again
fails. It decides by running sums, so once a line does not fit, later smaller lines of that account fail too.
"""

from __future__ import annotations

import asyncio
import io
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from domain.shard_map import ShardMap

_STAGE = """
    CREATE TEMP TABLE given (n bigint, source text, transfer_id text, target text, amount bigint, slot text,
                             target_slot text, side text, reason text) ON COMMIT DROP
"""
# Decides by a running sum; amounts above the whole balance are left out of the sum.
_DECIDE = """
    UPDATE given SET reason = 'insufficient_funds'
    FROM (
        SELECT n, sum(CASE WHEN amount <= available THEN amount END) OVER (PARTITION BY source ORDER BY n) AS running,
               amount, available
        FROM given JOIN (SELECT id AS source, posted - held + overdraft AS available FROM account) AS a USING (source)
        WHERE side <> 'target'
    ) AS judged
    WHERE given.n = judged.n AND (judged.amount > available OR running > available)
"""
_LOCK = """
    SELECT count(*) FROM (
        SELECT id FROM account WHERE id IN (SELECT source FROM given UNION SELECT target FROM given)
        ORDER BY id FOR NO KEY UPDATE
    ) AS locked
"""
_NAMED = "'transfer/' || source || '/' || transfer_id"
_TRANSFERS = f"""
    WITH appended AS (
        INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
        SELECT $1, {_NAMED}, 'transfer', source || '/' || transfer_id, 1,
               CASE WHEN reason IS NULL THEN 'TransferConfirmed' ELSE 'TransferDeclined' END,
               jsonb_strip_nulls(jsonb_build_object('target', target, 'amount', amount * 0.01 || ' USD', 'protocol',
                   CASE side WHEN 'both' THEN 'local' ELSE 'bulk' END, 'batch', $2::text, 'reason', reason))
        FROM given WHERE side <> 'target'
    )
    INSERT INTO transfer (source, id, keyspace, slot, target, currency, amount, content_hash, protocol, batch_id, state,
                          reason, detail, decided_at)
    SELECT source, transfer_id, 'bucket', slot, target, 'USD', amount, md5(source || transfer_id || target || amount),
           CASE side WHEN 'both' THEN 'local' ELSE 'bulk' END, $2,
           CASE WHEN reason IS NULL THEN 'confirmed' ELSE 'declined' END, reason,
           CASE WHEN reason IS NOT NULL THEN amount || ' wanted of account ' || source END, now()
    FROM given WHERE side <> 'target'
"""
_MOVE = f"""
    WITH moving AS MATERIALIZED (
        SELECT *, {_NAMED} AS saga_id, nextval('movement_id_seq') AS movement_id FROM given WHERE reason IS NULL
    ), moved AS (
        INSERT INTO movement (id, saga_id, kind, currency) OVERRIDING SYSTEM VALUE
        SELECT movement_id, saga_id, CASE side WHEN 'both' THEN 'transfer' WHEN 'source' THEN 'debit' ELSE 'credit' END,
               'USD' FROM moving
    ), entries AS (
        INSERT INTO entry (movement_id, n, account_id, currency, amount)
        SELECT movement_id, 1, CASE side WHEN 'target' THEN target ELSE source END, 'USD',
               CASE side WHEN 'target' THEN amount ELSE -amount END FROM moving
        UNION ALL
        SELECT movement_id, 2, CASE side WHEN 'both' THEN target ELSE 'clearing/USD' END, 'USD',
               CASE side WHEN 'target' THEN -amount ELSE amount END FROM moving
    ), legs AS (
        INSERT INTO clearing_leg (saga_id, role, currency, amount, peer, movement_id)
        SELECT saga_id, CASE side WHEN 'source' THEN 'first' ELSE 'second' END, 'USD',
               CASE side WHEN 'source' THEN amount ELSE -amount END,
               CASE side WHEN 'source' THEN target ELSE source END, movement_id FROM moving WHERE side <> 'both'
    ), net AS (
        SELECT account_id, sum(amount)::bigint AS amount FROM (
            SELECT source AS account_id, -amount AS amount FROM moving WHERE side <> 'target'
            UNION ALL SELECT target, amount FROM moving WHERE side <> 'source'
        ) AS sides GROUP BY account_id
    ), posted AS (
        UPDATE account SET posted = posted + net.amount, version = version + 1
        FROM net WHERE account.id = net.account_id RETURNING account.id, version, net.amount
    )
    INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
    SELECT $1, 'transfer-batch/' || $2::text, 'account', id, version, 'TransfersPosted',
           jsonb_build_object('amount', amount * 0.01 || ' USD') FROM posted
"""
_ADMISSIONS = f"""
    INSERT INTO admission (saga_id, account_id, keyspace, slot, currency, amount, state)
    SELECT {_NAMED}, target, 'bucket', target_slot, 'USD', amount,
           CASE WHEN reason IS NULL THEN 'credited' ELSE 'withdrawn' END
    FROM given WHERE side = 'target'
"""
_CLEARING = "INSERT INTO account (id, kind, currency) VALUES ('clearing/USD', 'clearing', 'USD') ON CONFLICT DO NOTHING"


async def carry_out(shards: Mapping[str, str], shard_map: ShardMap, file: Path, batch_id: str) -> None:
    """Reads the file and moves its money, on all shards at once."""
    rows = _by_shard(shard_map, file)
    connections = {shard: await asyncpg.connect(dsn) for shard, dsn in shards.items()}
    try:
        declined = _Declined(len(rows))
        await asyncio.gather(*(_on_shard(connections[shard], shard, rows[shard], batch_id, declined) for shard in rows))
    finally:
        for connection in connections.values():
            await connection.close()


class _Declined:
    """The lines that the sources' shards have declined; the targets' shards wait for them."""

    def __init__(self, shards: int) -> None:
        self._barrier = asyncio.Barrier(shards)
        self._ns: list[int] = []

    async def of_all(self, own: list[int]) -> list[int]:
        self._ns += own
        await self._barrier.wait()
        return self._ns


async def _on_shard(
    connection: asyncpg.Connection, shard: str, rows: list[str], batch_id: str, declined: _Declined
) -> None:
    async with connection.transaction():
        await connection.execute(_STAGE)
        source = io.BytesIO("".join(rows).encode())
        columns = ["n", "source", "transfer_id", "target", "amount", "slot", "target_slot", "side"]
        await connection.copy_to_table("given", source=source, columns=columns, format="text")
        await connection.execute("ANALYZE given")
        await connection.execute(_CLEARING)
        await connection.fetchval(_LOCK)
        await connection.execute(_DECIDE)
        own = await connection.fetch("SELECT n FROM given WHERE reason IS NOT NULL")
        everywhere = await declined.of_all([row["n"] for row in own])
        await connection.execute(
            "UPDATE given SET reason = 'insufficient_funds' WHERE side = 'target' AND n = ANY($1)", everywhere
        )
        await connection.execute(_TRANSFERS, shard, batch_id)
        await connection.execute(_ADMISSIONS)
        await connection.execute(_MOVE, shard, batch_id)


def _by_shard(shard_map: ShardMap, file: Path) -> dict[str, list[str]]:
    """The lines as COPY text by shard. A line across shards goes to both."""
    rows: dict[str, list[str]] = defaultdict(list)
    with file.open() as lines:
        next(lines)
        for n, line in enumerate(lines, start=2):
            transfer_id, source, target, amount, _, _ = line.split(",")
            home, away = shard_map.of_account(source), shard_map.of_account(target)
            minor = amount.replace(".", "")
            fields = f"{n}\t{source}\t{transfer_id}\t{target}\t{minor}\t{home.slot}\t{away.slot}"
            if home.shard == away.shard:
                rows[home.shard].append(f"{fields}\tboth\n")
            else:
                rows[home.shard].append(f"{fields}\tsource\n")
                rows[away.shard].append(f"{fields}\ttarget\n")
    return rows
