"""The middle of a transfer: it is held back at a border, and everybody else is asked what they notice of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from contrast.cast import CURRENCY, Cast
from contrast.documents import Balances, Border, Middle, Server, Side, Writer
from contrast.load import CENT
from contrast.probes.row_waits import wait_for_account
from contrast.watched_worker import WatchedWorker
from domain.errors import Unreachable
from domain.money import Money
from domain.transfers import ProtocolChoice, Transfer, TransferStatus
from shards.accounts.reads import read_account
from shards.connections.database import Database
from shards.monitoring.vacuum import Vacuumed, vacuum_accounts
from shards.outbox.horizon import Horizon, read_horizon
from shards.routing.router import Router
from shardwise.transfers.sagas import TransferSagas
from workflows.interfaces import TransferResult

AMOUNT = Money.parse("30.00", CURRENCY)
UNRELATED_TRANSFERS = 5
# On each shard of one pause: the paused account, its neighbour, and two that have nothing to do with it.
ACCOUNTS_PER_SHARD = 4 * len(Border)
ANSWER_SECONDS_MAX = 60.0
# What is kept back for a moment, as any transaction does, is not what the paused one keeps back.
LOOKS_MAX = 10
LOOK_EVERY_SECONDS = 0.05
# Whoever else reads at that moment, an analyze above all, keeps dead rows too: for no longer than all of these.
VACUUM_AGAIN_SECONDS = (0.1, 0.3, 0.9)


@dataclass(frozen=True, slots=True)
class Part:
    """One side of the paused transfer, and who shares its server."""

    side: Side
    shard: str
    account: str
    neighbour: str
    strangers: tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Noticed:
    """`others` end after the pause where it kept them waiting."""

    middle: Balances
    writers: list[tuple[Writer, asyncio.Task[float]]]
    servers: list[Server]
    seconds: float


@dataclass(frozen=True, slots=True)
class Watch:
    """`router` without time limits; `sagas` are run by the stack's own workers, as anybody's transfers are."""

    router: Router
    sagas: TransferSagas
    worker: WatchedWorker
    cast: Cast
    lock_timeout_ms: int

    async def middle(self, border: Border) -> Middle:
        """One transfer, paused at `border` and settled afterwards."""
        source, target = (self._part(side, shard) for side, shard in zip(Side, self.cast.shards[:2], strict=True))
        transfer = Transfer(self._id(border, "paused"), source.account, target.account, AMOUNT)
        before = await self._balances(source, target, None)
        async with self.worker.held_back(transfer, border) as handle:
            noticed = await self._notice(border, source, target, before)
        result = await handle.result()
        for writer, other in noticed.writers:
            writer.transfer_ms = round(await other * 1000, 1)
        return Middle(
            protocol=border.protocol,
            border=border,
            amount=AMOUNT.amount,
            currency=CURRENCY,
            paused_ms=round(noticed.seconds * 1000, 1),
            before=before,
            middle=noticed.middle,
            after=await self._balances(source, target, before),
            writers=[writer for writer, _ in noticed.writers],
            servers=noticed.servers,
            settled=result.status is TransferStatus.SETTLED,
        )

    def _part(self, side: Side, shard: str) -> Part:
        account, neighbour, *strangers = self.cast.take(shard, 4)
        return Part(side, shard, account, neighbour, (strangers[0], strangers[1]))

    async def _notice(self, border: Border, source: Part, target: Part, before: Balances) -> _Noticed:
        began = time.perf_counter()
        seen = await self._balances(source, target, before)
        writers = await asyncio.gather(*(self._writer(border, part) for part in (source, target)))
        servers = await asyncio.gather(*(self._server(border, part) for part in (source, target)))
        for writer, other in writers:
            writer.settled_in_pause = other.done() and other.exception() is None
        return _Noticed(seen, writers, servers, time.perf_counter() - began)

    async def _balances(self, source: Part, target: Part, before: Balances | None) -> Balances:
        """As anybody reads them who asks each shard."""
        began = time.perf_counter()
        found = [(await read_account(self.router, part.account)).balance for part in (source, target)]
        seconds = time.perf_counter() - began
        missing = Money.zero(CURRENCY)
        if before is not None:
            missing = Money.parse(before.source, CURRENCY) + Money.parse(before.target, CURRENCY) - _sum(found)
        return Balances(
            source=found[0].amount, target=found[1].amount, missing=missing.amount, read_ms=round(seconds * 1000, 2)
        )

    async def _writer(self, border: Border, part: Part) -> tuple[Writer, asyncio.Task[float]]:
        """The row is asked for, and an ordinary transfer of the account sent: out of the source, in to the target.

        Where the row is free, the transfer is waited for; where it is not, it waits until the pause is over.
        """
        debited, credited = part.account, part.neighbour
        if part.side is Side.TARGET:
            debited, credited = credited, debited
        # First, so that only the paused transfer can be in its way.
        waited = await wait_for_account(self.router, part.account, self.lock_timeout_ms)
        other = asyncio.create_task(self._send(self._id(border, f"other-{part.side}"), debited, credited))
        if waited.got_it:
            await asyncio.wait({other})
        writer = Writer(
            side=part.side,
            row_free=waited.got_it,
            row_waited_ms=round(waited.seconds * 1000, 2),
            lock_timeout_ms=self.lock_timeout_ms,
            settled_in_pause=False,
            transfer_ms=0.0,
        )
        return writer, other

    async def _server(self, border: Border, part: Part) -> Server:
        database = self.router.cluster.primaries[part.shard]
        before = await read_horizon(database)
        for number in range(UNRELATED_TRANSFERS):
            await self._send(self._id(border, f"unrelated-{part.side}-{number}"), *part.strangers)
        after = await self._rested_horizon(part.shard)
        vacuumed = await self._rested_vacuum(database)
        return Server(
            side=part.side,
            shard=part.shard,
            unrelated_transfers=UNRELATED_TRANSFERS,
            watermark_moved=after.watermark > before.watermark,
            hidden_events=after.hidden_events,
            dead_rows_kept=vacuumed.dead_rows_kept,
            horizon_age=vacuumed.cutoff_age,
        )

    async def _rested_horizon(self, shard: str) -> Horizon:
        for _ in range(LOOKS_MAX):
            horizon = await read_horizon(self.router.cluster.primaries[shard])
            if horizon.hidden_events == 0:
                break
            await asyncio.sleep(LOOK_EVERY_SECONDS)
        return horizon

    async def _rested_vacuum(self, database: Database) -> Vacuumed:
        vacuumed = await vacuum_accounts(database)
        for seconds in VACUUM_AGAIN_SECONDS:
            if vacuumed.dead_rows_kept == 0:
                break
            await asyncio.sleep(seconds)
            vacuumed = await vacuum_accounts(database)
        return vacuumed

    async def _send(self, transfer_id: str, source: str, target: str) -> float:
        """An ordinary transfer within a shard, by the stack's workers; how long it took, in seconds."""
        began = time.perf_counter()
        shard = (await self.router.map()).of_account(source).shard
        transfer = Transfer(transfer_id, source, target, CENT)
        result = await self.sagas.carry_out(transfer, ProtocolChoice.AUTO, shard, ANSWER_SECONDS_MAX)
        _assert_settled(transfer, result)
        return time.perf_counter() - began

    def _id(self, border: Border, name: str) -> str:
        return f"{self.cast.run_id}-{border.name.lower()}-{name}"


def _sum(amounts: list[Money]) -> Money:
    total = Money.zero(CURRENCY)
    for amount in amounts:
        total = total + amount
    return total


def _assert_settled(transfer: Transfer, result: TransferResult | None) -> None:
    if result is None or result.status is not TransferStatus.SETTLED:
        raise Unreachable("contrast_stalled", f"{transfer.saga_id} did not settle: {result}")
