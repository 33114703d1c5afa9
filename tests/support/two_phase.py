"""Transfers between two shards, their phases called one by one in whatever order a test wants."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from activities.interfaces import OpenTransfer
from activities.transfers import ShardedTransferActivities
from domain.identifiers import clearing_account_id
from domain.money import Money
from domain.sagas import Refusal
from domain.transfers import ProtocolChoice, Transfer, TransferState
from domain.two_phase import Ended, Participant, Vote, gid_of
from shards.connections.cluster import Cluster
from shards.transfers import two_phase
from tests.support.world import World

SOURCE, TARGET = Participant.SOURCE, Participant.TARGET
BOTH = (SOURCE, TARGET)

_numbers = itertools.count(1)
_OURS = "database = current_database() AND starts_with(gid, 'shardwise' || chr(58))"


class TransferByHand:
    def __init__(self, world: World, transfer: Transfer, shards: dict[Participant, str]) -> None:
        self.world = world
        self.transfer = transfer
        self.shards = shards

    async def open(self) -> TransferState | None:
        opened = await ShardedTransferActivities(self.world.router).open_transfer(
            OpenTransfer(self.transfer, ProtocolChoice.TWO_PHASE)
        )
        return opened.state

    async def prepare(self, participant: Participant) -> Vote:
        return await two_phase.prepare(self.world.router, self.transfer, participant)

    async def prepare_both(self) -> None:
        for participant in BOTH:
            assert (await self.prepare(participant)).is_yes

    async def commit(self, participant: Participant) -> Ended:
        return await two_phase.commit(self.world.router, self.transfer, participant)

    async def abort(self, participant: Participant, refusal: Refusal) -> Ended:
        return await two_phase.abort(self.world.router, self.transfer, participant, refusal)

    async def by_hand(self, participant: Participant, verb: str) -> None:
        """`COMMIT` or `ROLLBACK` of its prepared transaction, as an operator by hand would do it."""
        async with self.world.cluster.primaries[self.shards[participant]].autocommit() as connection:
            await connection.exec_driver_sql(f"{verb} PREPARED '{self.gid(participant)}'")

    def gid(self, participant: Participant) -> str:
        return gid_of(self.transfer.saga_id, participant)

    async def prepared(self) -> list[Participant]:
        """The participants that are in doubt."""
        gids = {gid for shard in self.shards.values() for gid in await prepared_on(self.world.cluster, shard)}
        return [participant for participant in BOTH if self.gid(participant) in gids]

    async def states(self) -> tuple[str | None, str | None]:
        """Of the outcome rows: the transfer's, the admission's."""
        transfer, source = self.transfer, self.shards[SOURCE]
        row = await self.world.rows(
            source,
            "SELECT state FROM transfer WHERE source = :s AND id = :i",
            s=transfer.source,
            i=transfer.transfer_id,
        )
        admission = await self.world.rows(
            self.shards[TARGET], "SELECT state FROM admission WHERE saga_id = :s", s=transfer.saga_id
        )
        return row[0][0] if row else None, admission[0][0] if admission else None

    async def money(self) -> tuple[int, int]:
        """What is posted to the source and to the target, in minor units."""
        return (await self.world.money_of(self.transfer.source))[0], (await self.world.money_of(self.transfer.target))[
            0
        ]

    async def legs(self) -> list[tuple[str, int]]:
        found = await self.world.everywhere(
            "SELECT role, amount FROM clearing_leg WHERE saga_id = :saga", saga=self.transfer.saga_id
        )
        return sorted((role, amount) for role, amount in found)


async def new_transfer(
    world: World,
    amount: str = "30.00",
    balance: str = "100.00",
    shards: tuple[str, str] = ("shard-1", "shard-2"),
    currency: str = "USD",
    target: str | None = None,
    transfer_id: str | None = None,
    opened: bool = True,
) -> TransferByHand:
    """Between two new customers: the source has `balance`, the target nothing."""
    source = await world.customer(balance, currency, shards[0])
    target = target or await world.customer("0.00", currency, shards[1])
    made = Transfer(transfer_id or f"T{next(_numbers)}", source, target, Money.parse(amount, currency))
    by_hand = TransferByHand(world, made, {SOURCE: shards[0], TARGET: shards[1]})
    if opened:
        assert await by_hand.open() is TransferState.PENDING
    return by_hand


async def prepared_on(cluster: Cluster, shard: str) -> list[str]:
    async with cluster.primaries[shard].autocommit() as connection:
        found = await connection.exec_driver_sql(f"SELECT gid FROM pg_prepared_xacts WHERE {_OURS} ORDER BY gid")
        return [row.gid for row in found]


@asynccontextmanager
async def nothing_left_prepared(cluster: Cluster) -> AsyncIterator[None]:
    """Rolls back what a test has left: the databases could not be dropped."""
    try:
        yield
    finally:
        for name, shard in cluster.primaries.items():
            for gid in await prepared_on(cluster, name):
                async with shard.autocommit() as connection:
                    await connection.exec_driver_sql(f"ROLLBACK PREPARED '{gid}'")


async def clearing_opened(world: World, shard: str, currency: str) -> bool:
    return bool(await world.rows(shard, "SELECT FROM account WHERE id = :id", id=clearing_account_id(currency)))
