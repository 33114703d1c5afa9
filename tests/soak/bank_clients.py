"""Clients of the bank: each requests one transfer after the other, in every way a caller can, and keeps the answers.

They use the transfer service, as the command `transfer` does, since a process of Python for each would be most of the
load; now and then one of them runs the command itself.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from temporalio.service import RPCError

from domain.errors import Refused, Unreachable
from domain.sagas import Reason
from domain.transfers import ProtocolChoice, TransferStatus
from shardwise.connections import Connections, connected
from shardwise.reading import Reading
from shardwise.transfers.sagas import TransferSagas
from shardwise.transfers.service import Transfers
from stack.settings import Settings
from tests.soak.background import Background
from tests.soak.bank_accounts import Key, Places, Wanted, Way, transfers
from tests.soak.bank_books import Answers
from tests.support.command import Shardwise
from tests.support.opened import OpenedWith

CLIENTS = 4
# A short one goes on while a shard is away, so that many transfers are; a long one sees how it ends.
WAITS_SECONDS = (1.0, 3.0, 20.0)
# From the start of a transfer until somebody terminates it: within its life, mostly.
TERMINATED_WITHIN_SECONDS = 0.3
COMMAND_WAIT_SECONDS = "10"
SETTLE_SECONDS_MAX = 90.0
SETTLED_AT_ONCE_MAX = 8
RETRY_SECONDS = 0.2
_STATUS_OF_EXIT = {0: TransferStatus.SETTLED, 1: TransferStatus.DECLINED, 3: TransferStatus.PENDING}


@dataclass(frozen=True)
class Wait:
    """How long a client waited for a final status; monotonic seconds."""

    began: float
    ended: float
    wanted: Wanted

    def in_peace(self, returns: Sequence[float]) -> float:
        """How long while nothing was down: from the request, or from when the last killed part was back."""
        return self.ended - max([self.began, *(at for at in returns if at <= self.ended)])


class Clients(Background):
    """They work inside the block. `asked` is every transfer they requested, `answers` every final status they got."""

    def __init__(self, shardwise: Shardwise, seed: str, places: Places) -> None:
        super().__init__()
        self.asked: list[Wanted] = []
        self.answers = Answers()
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        # While it is held, no workflow is terminated.
        self.no_terminations = threading.Lock()
        self.waits: list[Wait] = []
        self._shardwise = shardwise
        self._settings = Settings(data_dir=shardwise.data_dir)
        self._plans = [transfers(seed, client, places) for client in range(CLIENTS)]
        self._chance = random.Random(f"{seed}-moments")
        self._places = places
        self._waits = itertools.cycle(WAITS_SECONDS)
        self._ways: dict[Way, Callable[[Wanted], Awaitable[None]]] = {
            Way.ONCE: self._once,
            Way.TWICE: self._twice,
            Way.OTHERWISE: self._otherwise,
            Way.TERMINATED: self._terminated,
            Way.RESTARTED: self._restarted,
            Way.COMMAND: self._by_command,
        }

    def work(self) -> None:
        asyncio.run(self._ask_on())

    def settle(self) -> None:
        """Waits until every transfer is known to be final. Only one that was never begun is asked for again: all others
        have to come to their end by themselves, or by `recover`."""
        asyncio.run(self._settle())

    async def _ask_on(self) -> None:
        async with connected(self._settings) as to:
            self._use(to)
            await asyncio.gather(*(self._client(plan) for plan in self._plans))

    def _use(self, to: Connections) -> None:
        opened = OpenedWith(to, self._settings)
        self._service = Transfers(opened, Reading(opened))
        self._sagas = TransferSagas(to.temporal, self._settings)

    async def _client(self, plan: Iterator[Wanted]) -> None:
        for wanted in plan:
            if not self.wanted:
                return
            self.asked.append(wanted)
            self.counts[wanted.way] += 1
            try:
                await self._ways[wanted.way](wanted)
            except Exception:
                self.faults.append(f"{wanted.key} ({wanted.way}): {traceback.format_exc()}")

    # ── ways to request ── ────────────────────────────────────────────────────────────────────────────────────────

    async def _once(self, wanted: Wanted) -> None:
        await self._place(wanted, wanted.protocol)

    async def _twice(self, wanted: Wanted) -> None:
        await asyncio.gather(self._once(wanted), self._once(wanted))

    async def _otherwise(self, wanted: Wanted) -> None:
        await self._once(wanted)
        if wanted.key not in self.answers.endings or wanted.may == {Reason.NOT_LOCAL}:
            return  # Its id may not be taken yet.
        try:
            answer = await self._service.move_as(wanted.otherwise, wanted.protocol, next(self._waits))
        except Refused as refused:
            if refused.code != Reason.ID_CONFLICT:
                self.faults.append(f"{wanted.key}: other content was refused as {refused.code}")
        except Unreachable:
            pass
        else:
            if answer.status is not TransferStatus.PENDING:
                self.faults.append(f"{wanted.key}: other content was reported as {answer.status}")

    async def _terminated(self, wanted: Wanted) -> None:
        if not self.no_terminations.acquire(blocking=False):
            await self._once(wanted)
            return
        try:
            source = self._places.of(wanted.transfer.source)
            handle = await self._sagas.start(wanted.transfer, wanted.protocol, source)
            await asyncio.sleep(self._chance.uniform(0, TERMINATED_WITHIN_SECONDS))
            await handle.terminate("an operator's mistake")
            self.counts["workflows terminated"] += 1
        except (Unreachable, RPCError):
            pass  # Never started, or ended already.
        finally:
            self.no_terminations.release()

    async def _restarted(self, wanted: Wanted) -> None:
        await self._terminated(wanted)
        await self._once(wanted)

    async def _by_command(self, wanted: Wanted) -> None:
        transfer = wanted.transfer
        amount = ("--currency", transfer.amount.currency, "--wait", COMMAND_WAIT_SECONDS)
        protocol = ("--protocol", wanted.protocol, "--id", transfer.transfer_id)
        answer = await asyncio.to_thread(
            self._shardwise, "transfer", transfer.source, transfer.target, transfer.amount.amount, *amount, *protocol
        )
        document = answer.document
        if "error" in document:
            if answer.exit_code != 3:
                self.faults.append(f"{wanted.key}: exit {answer.exit_code}: {document}")
        elif document["status"] != _STATUS_OF_EXIT[answer.exit_code]:
            self.faults.append(f"{wanted.key}: exit {answer.exit_code}, but reported as {document['status']}")
        else:
            self._record(wanted.key, document["status"], document["reason"])

    async def _place(self, wanted: Wanted, protocol: ProtocolChoice) -> None:
        began = time.monotonic()
        try:
            answer = await self._service.move_as(wanted.transfer, protocol, next(self._waits))
        except Unreachable:
            self.counts["unreachable"] += 1
            return
        self._record(wanted.key, answer.status, answer.reason)
        if answer.status is not TransferStatus.PENDING:
            self.waits.append(Wait(began, time.monotonic(), wanted))

    def _record(self, key: Key, status: str, reason: str | None) -> None:
        self.counts[f"reported {status}"] += 1
        self.answers.record(key, status, reason)

    # ── the end ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS_MAX
        turns = asyncio.Semaphore(SETTLED_AT_ONCE_MAX)
        async with connected(self._settings) as to:
            self._use(to)
            still_open = [each for each in self.asked if each.key not in self.answers.endings]
            await asyncio.gather(*(self._until_final(each, deadline, turns) for each in still_open))

    async def _until_final(self, wanted: Wanted, deadline: float, turns: asyncio.Semaphore) -> None:
        last = ""
        while wanted.key not in self.answers.endings:
            if time.monotonic() > deadline:
                self.faults.append(f"{wanted.key} ({wanted.protocol}, {wanted.way}) does not come to its end: {last}")
                return
            async with turns:
                last = await self._look(wanted)
            await asyncio.sleep(RETRY_SECONDS)

    async def _look(self, wanted: Wanted) -> str:
        try:
            shown = await self._service.show(*wanted.key)
        except Unreachable as error:
            return error.message
        except Refused:
            self.counts["begun at last"] += 1
            await self._once(wanted)
            return "it was never begun"
        self._record(wanted.key, shown.status, shown.reason)
        return f"{shown.status}"
