"""Reads the staged lines of a batch chunk by chunk, with their transfers."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import text

from domain.shard_map import Route, ShardMap
from domain.transfer_batch import Line, Round
from domain.transfers import TransferState
from shards.routing.bulk_transaction import BulkTransaction

ROUTES_KEPT_MAX = 100_000

_FIRST_ROUND = """
    SELECT * FROM batch_line AS line
    WHERE batch_id = :batch_id AND n > :after AND repeats IS NULL
      AND NOT EXISTS (SELECT FROM batch_postponed AS p WHERE p.batch_id = line.batch_id AND p.n = line.n)
    ORDER BY n LIMIT :count
"""
_SECOND_ROUND = """
    SELECT line.* FROM batch_postponed JOIN batch_line AS line USING (batch_id, n)
    WHERE batch_id = :batch_id AND n > :after ORDER BY n LIMIT :count
"""


def _read(lines: str) -> str:
    return f"""
        SELECT line.n, line.transfer_id, line.source, line.target, line.currency, line.amount, transfer.state,
               transfer.batch_id = line.batch_id AND transfer.content_hash = line.content_hash AS ours,
               (transfer.target, transfer.currency, transfer.amount)
                   IS DISTINCT FROM (line.target, line.currency, line.amount) AS other_money
        FROM ({lines}) AS line
        LEFT JOIN transfer ON transfer.source = line.source AND transfer.id = line.transfer_id
        ORDER BY line.n
    """


_READ = {Round.FIRST: text(_read(_FIRST_ROUND)), Round.SECOND: text(_read(_SECOND_ROUND))}


@dataclass(slots=True)
class Chunk:
    """Lines in the order of the file, each in one of the five lists. `last`: the number of the last line; None if there
    are no more.

    `fresh` lines have no transfer yet; `confirmed` and `declined` ones were decided by an earlier attempt of this
    batch. The ids of `others` were taken outside this batch for a transfer of the same money, which is not touched;
    those of `conflicts` for a transfer with another amount, currency or target.
    """

    fresh: list[Line] = field(default_factory=list)
    confirmed: list[Line] = field(default_factory=list)
    declined: list[Line] = field(default_factory=list)
    others: list[Line] = field(default_factory=list)
    conflicts: list[Line] = field(default_factory=list)
    last: int | None = None


async def read_chunk(tx: BulkTransaction, batch_id: str, round_: Round, after: int, count: int) -> Chunk:
    """The next `count` lines after line `after` that belong to this round. Changes nothing."""
    chunk = Chunk()
    await tx.plan_each_time()
    rows = await tx.execute(_READ[round_], batch_id=batch_id, after=after, count=count)
    kinds = {TransferState.CONFIRMED: chunk.confirmed, TransferState.DECLINED: chunk.declined}
    for n, transfer_id, source, target, currency, amount, state, ours, other_money in map(tuple, rows):
        line = Line(n, transfer_id, source, target, currency, amount)
        if state is None:
            chunk.fresh.append(line)
        elif ours:
            kinds[state].append(line)
        else:
            (chunk.conflicts if other_money else chunk.others).append(line)
        chunk.last = n
    return chunk


class Routes:
    """Routes of accounts by one version of the map, cached, since a batch names the same accounts again and again."""

    def __init__(self, shard_map: ShardMap) -> None:
        self.version = shard_map.version
        self._map = shard_map
        self._known: dict[str, Route] = {}

    def __getitem__(self, account_id: str) -> Route:
        route = self._known.get(account_id)
        if route is None:
            if len(self._known) >= ROUTES_KEPT_MAX:
                self._known.clear()
            route = self._known[account_id] = self._map.of_account(account_id)
        return route
