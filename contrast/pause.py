"""The middle of a transfer: it is held back at a border, and what readers, writers and servers see is recorded."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from contrast.accounts import CURRENCY, ContrastAccounts
from contrast.documents import Balances, Border, Middle, Server, Side, Writer
from contrast.load import CENT
from contrast.probes.row_waits import wait_for_account
from contrast.probes.vacuum import Vacuumed, vacuum_accounts
from contrast.watched_worker import WatchedWorker
from domain.errors import Unreachable
from domain.money import Money
from domain.transfers import ProtocolChoice, Transfer, TransferStatus
from shards.accounts.reads import read_account
from shards.connections.database import Database
from shards.outbox.horizon import Horizon, read_horizon
from shards.routing.router import Router
from shardwise.transfers.sagas import TransferSagas
from workflows.interfaces import TransferResult

AMOUNT = Money.parse("30.00", CURRENCY)
UNRELATED_TRANSFERS = 5
# For each pause on each shard: the paused account, its neighbour, and two unrelated ones.
ACCOUNTS_PER_SHARD = 4 * len(Border)
SETTLED_SECONDS_MAX = 60.0
# Every transaction holds the horizon back for a moment: only what lasts is due to the paused one.
LOOKS_MAX = 10
LOOK_EVERY_SECONDS = 0.05
# Other readers, above all an ANALYZE, keep dead rows too, but for no longer than all of these together.
VACUUM_AGAIN_SECONDS = (0.1, 0.3, 0.9)


@dataclass(frozen=True, slots=True)
class Part:
    """One side of the paused transfer, with other accounts on the same server."""

    side: Side
    shard: str
    account: str
    neighbour: str
    unrelated: tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Observed:
    """A writer's task ends after the pause if the pause made it wait."""

    middle: Balances
    writers: list[tuple[Writer, asyncio.Task[float]]]
    servers: list[Server]
    seconds: float


@dataclass(frozen=True, slots=True)
class Observer:
    """`router` has no time limits. The stack's own workers run the transfers of `sagas`, as they run anybody's."""

    router: Router
    sagas: TransferSagas
    worker: WatchedWorker
    accounts: ContrastAccounts
    lock_timeout_ms: int

    async def middle(self, border: Border) -> Middle:
        """One transfer, paused at `border` and settled afterwards."""
        source, target = (self._part(side, shard) for side, shard in zip(Side, self.accounts.shards[:2], strict=True))
        transfer = Transfer(self._id(border, "paused"), source.account, target.account, AMOUNT)
        before = await self._balances(source, target, None)
        async with self.worker.held_back(transfer, border) as handle:
            observed = await self._observe(border, source, target, before)
        result = await handle.result()
        for writer, other in observed.writers:
            writer.transfer_ms = round(await other * 1000, 1)
        return Middle(
            protocol=border.protocol,
            border=border,
            amount=AMOUNT.amount,
            currency=CURRENCY,
            paused_ms=round(observed.seconds * 1000, 1),
            before=before,
            middle=observed.middle,
            after=await self._balances(source, target, before),
            writers=[writer for writer, _ in observed.writers],
            servers=observed.servers,
            settled=result.status is TransferStatus.SETTLED,
        )

    def _part(self, side: Side, shard: str) -> Part:
        account, neighbour, *unrelated = self.accounts.take(shard, 4)
        return Part(side, shard, account, neighbour, (unrelated[0], unrelated[1]))

    async def _observe(self, border: Border, source: Part, target: Part, before: Balances) -> _Observed:
        began = time.perf_counter()
        seen = await self._balances(source, target, before)
        writers = await asyncio.gather(*(self._writer(border, part) for part in (source, target)))
        servers = await asyncio.gather(*(self._server(border, part) for part in (source, target)))
        for writer, other in writers:
            writer.settled_in_pause = other.done() and other.exception() is None
        return _Observed(seen, writers, servers, time.perf_counter() - began)

    async def _balances(self, source: Part, target: Part, before: Balances | None) -> Balances:
        """As any reader gets them from the two shards."""
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
        """Waits for the row's lock, then sends an ordinary transfer of the account: from the source or to the target.

        If the row is free, that transfer is awaited; if not, it waits until the pause is over.
        """
        debited, credited = part.account, part.neighbour
        if part.side is Side.TARGET:
            debited, credited = credited, debited
        # First, so that only the paused transfer can make it wait.
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
            await self._send(self._id(border, f"unrelated-{part.side}-{number}"), *part.unrelated)
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
        """Sends an ordinary transfer within a shard to the stack's workers. Returns the seconds that it took."""
        began = time.perf_counter()
        shard = (await self.router.map()).of_account(source).shard
        transfer = Transfer(transfer_id, source, target, CENT)
        result = await self.sagas.carry_out(transfer, ProtocolChoice.AUTO, shard, SETTLED_SECONDS_MAX)
        _assert_settled(transfer, result)
        return time.perf_counter() - began

    def _id(self, border: Border, name: str) -> str:
        return f"{self.accounts.run_id}-{border.name.lower()}-{name}"


def _sum(amounts: list[Money]) -> Money:
    total = Money.zero(CURRENCY)
    for amount in amounts:
        total = total + amount
    return total


def _assert_settled(transfer: Transfer, result: TransferResult | None) -> None:
    if result is None or result.status is not TransferStatus.SETTLED:
        raise Unreachable("contrast_stalled", f"{transfer.saga_id} did not settle: {result}")
