"""Every shard read again and again, each time in one snapshot: the money there is conserved at every instant. And no
money arrives on one before it has left another."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Set

import asyncpg

from tests.soak.background import Background
from tests.soak.bank_accounts import OPENING, Places
from tests.support.command import Shardwise

EVERY_SECONDS = 0.3
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0

# The internal error is what asyncpg now and then makes of a server that is killed while it is asked.
_GONE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

# One statement is one snapshot.
_LOOK = """
    WITH posted AS (SELECT account_id, sum(amount) AS amount FROM entry GROUP BY account_id),
    placed AS (SELECT account_id, sum(amount) AS amount FROM hold WHERE state = 'placed' GROUP BY account_id),
    customer AS (
        SELECT a.id, a.posted, a.held, a.overdraft, coalesce(p.amount, 0) AS booked, coalesce(h.amount, 0) AS placed
        FROM account AS a LEFT JOIN posted AS p ON p.account_id = a.id LEFT JOIN placed AS h ON h.account_id = a.id
        WHERE a.kind = 'customer'
    ),
    clearing AS (
        SELECT coalesce(sum(p.amount), 0) AS amount FROM posted AS p JOIN account AS a ON a.id = p.account_id
        WHERE a.kind = 'clearing'
    )
    SELECT CAST((SELECT coalesce(sum(amount), 0) FROM posted) AS bigint) AS entries,
           CAST((SELECT coalesce(sum(posted), 0) FROM customer) + clearing.amount AS bigint) AS money,
           CAST(clearing.amount - (SELECT coalesce(sum(amount), 0) FROM clearing_leg) AS bigint) AS unexplained,
           ARRAY(SELECT id FROM customer WHERE posted <> booked) AS misposted,
           ARRAY(SELECT id FROM customer WHERE held <> placed) AS misheld,
           ARRAY(SELECT id FROM customer WHERE posted - held + overdraft < 0) AS overdrawn,
           (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()) AS in_doubt
    FROM clearing
"""

_LEGS = "SELECT saga_id FROM clearing_leg WHERE role = $1"


class Snapshots(Background):
    """Inside the block a thread reads. A shard that does not answer is read when it does.

    `looks` are counted by shard. `pairings`: all shards were asked which money had arrived, and then which had left.
    """

    def __init__(self, shardwise: Shardwise, places: Places) -> None:
        super().__init__()
        self.looks: Counter[str] = Counter()
        self.pairings = 0
        self.in_doubt_max = 0
        self.faults: list[str] = []
        self._dsns = shardwise.databases.shards
        self._paid_in: Counter[str] = Counter()
        for account, cents in OPENING.items():
            self._paid_in[places.of(account)] += cents

    def work(self) -> None:
        asyncio.run(self._look_at_all())

    async def _look_at_all(self) -> None:
        await asyncio.gather(self._pair(), *(self._look_at(shard, dsn) for shard, dsn in self._dsns.items()))

    async def _pair(self) -> None:
        while self.wanted:
            with contextlib.suppress(*_GONE):
                arrived = await self._legs("second")
                left = await self._legs("first")
                self.pairings += 1
                self.faults += pairing_faults(arrived, left)
            await asyncio.sleep(EVERY_SECONDS)

    async def _legs(self, role: str) -> set[str]:
        """On all shards, or none."""
        return set().union(*await asyncio.gather(*(_legs_on(dsn, role) for dsn in self._dsns.values())))

    async def _look_at(self, shard: str, dsn: str) -> None:
        while self.wanted:
            with contextlib.suppress(*_GONE):
                connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS)
                try:
                    while self.wanted:
                        found = dict(await connection.fetchrow(_LOOK, timeout=ANSWER_SECONDS))
                        self.looks[shard] += 1
                        self.in_doubt_max = max(self.in_doubt_max, found["in_doubt"])
                        self.faults += look_faults(shard, self._paid_in[shard], found)
                        await asyncio.sleep(EVERY_SECONDS)
                finally:
                    connection.terminate()
            await asyncio.sleep(EVERY_SECONDS)


async def _legs_on(dsn: str, role: str) -> set[str]:
    connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS)
    try:
        return {row["saga_id"] for row in await connection.fetch(_LEGS, role, timeout=ANSWER_SECONDS)}
    finally:
        connection.terminate()


def pairing_faults(arrived: Set[str], left: Set[str]) -> Iterator[str]:
    """`left` was queried after `arrived`: money that arrives has left before, at every instant."""
    if strays := sorted(arrived - left):
        yield f"money arrived that had not left: {strays[:5]}"


def look_faults(shard: str, paid_in: int, found: Mapping[str, object]) -> Iterator[str]:
    """`found`: one look. `paid_in`: cents, into the accounts of this shard together."""
    if found["entries"] != 0:
        yield f"on {shard} all entries summed to {found['entries']} cents"
    if found["unexplained"] != 0:
        yield f"on {shard} clearing differed from its legs by {found['unexplained']} cents"
    if found["money"] != paid_in:
        yield f"on {shard} accounts and clearing had {found['money']} cents, {paid_in} were paid in"
    for name in ("misposted", "misheld", "overdrawn"):
        if found[name]:
            yield f"on {shard} accounts were {name}: {found[name]}"
