"""Many orders at once: each is placed unless it is final, and counted by its outcome."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from domain.errors import InvalidInput, Unreachable, first_of
from domain.order_documents import parse_order
from domain.orders import Order, OrderStatus, Style
from domain.sagas import Reason, Refusal
from shards.orders.reads import KnownOrder, OrderReads
from shardwise.files.order_file import NumberedLine
from shardwise.orders.styles import OrderStyles
from shardwise.temporal.calls import WorkflowFailed


class LineOutcome(StrEnum):
    """What a line is counted as. `pending`: not final within the limit. `failed`: its workflow ended without a
    decision, by a bug or an operator's terminate. `repeated`: the same order was in this file before."""

    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    PENDING = "pending"
    FAILED = "failed"
    INVALID = "invalid"
    REPEATED = "repeated"


@dataclass
class Tally:
    """`total` is lines, and the sum of the outcomes once the import is done. `unchanged` are those among them that were
    final before this import. `by_reason` counts rejected orders and conflicts of ids."""

    total: int = 0
    unchanged: int = 0
    bytes_done: int = 0
    outcomes: Counter[LineOutcome] = field(default_factory=Counter)
    by_reason: Counter[Reason] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        return self.outcomes.total()


@dataclass(frozen=True, slots=True)
class _Placed:
    line: NumberedLine
    order: Order


class OrderImport:
    """One run over one file. Safe to run again after a kill: what is final is only counted."""

    def __init__(
        self,
        reads: OrderReads,
        styles: OrderStyles,
        style: Style,
        concurrency: int,
        limit_seconds: float,
        on_invalid: Callable[[int, str], None],
        tally: Tally,
    ) -> None:
        """An order not final `limit_seconds` after its turn came is counted pending. `on_invalid` is called with a
        line's number and what is wrong with it."""
        self.tally = tally
        self._reads = reads
        self._styles = styles
        self._style = style
        self._concurrency = concurrency
        self._limit_seconds = limit_seconds
        self._on_invalid = on_invalid
        self._seen: dict[str, str] = {}

    async def run(self, batches: AsyncIterator[list[NumberedLine]]) -> Tally:
        """Reports invalid lines, and starts all others. If a shard is down, its orders are started without a check
        whether they are final: that changes nothing either.

        `InvalidInput` if the file cannot be read on, raised once the lines that were read are done.
        """
        try:
            return await self._run(batches)
        except BaseExceptionGroup as several:
            raise first_of(several) from several

    async def _run(self, batches: AsyncIterator[list[NumberedLine]]) -> Tally:
        unreadable: InvalidInput | None = None
        waiting: asyncio.Queue[_Placed] = asyncio.Queue(maxsize=self._concurrency)
        async with asyncio.TaskGroup() as group:
            carriers = [group.create_task(self._carry(waiting)) for _ in range(self._concurrency)]
            try:
                async for batch in batches:
                    for placed in await self._still_to_do(batch):
                        await waiting.put(placed)
            except InvalidInput as fault:
                unreadable = fault
            await waiting.join()
            for carrier in carriers:
                carrier.cancel()
        if unreadable is not None:
            raise unreadable
        return self.tally

    async def _still_to_do(self, batch: list[NumberedLine]) -> list[_Placed]:
        placed = [each for line in batch if (each := self._parsed(line)) is not None]
        known = await self._reads.read([each.order.order_id for each in placed], skip_unreachable=True)
        return [each for each in placed if not self._is_settled(each, known.get(each.order.order_id))]

    def _parsed(self, line: NumberedLine) -> _Placed | None:
        self.tally.total += 1
        try:
            return _Placed(line, replace(parse_order(line.text), style=self._style))
        except InvalidInput as fault:
            self._invalid(line, fault.message)
            return None

    def _is_settled(self, placed: _Placed, known: KnownOrder | None) -> bool:
        """Counts an order that need not be started: in conflict, in the file before, or final from an earlier run."""
        order = placed.order
        earlier = known.lookup.content_hash if known is not None else self._seen.get(order.order_id)
        if earlier is not None and earlier != order.content_hash:
            self._conflict(placed)
        elif order.order_id in self._seen:
            self._count(placed.line, LineOutcome.REPEATED)
        else:
            self._seen[order.order_id] = order.content_hash
            if known is None or not known.is_final:
                return False
            self.tally.unchanged += 1
            self._settle(placed, known.status, known.refusal)
        return True

    async def _carry(self, waiting: asyncio.Queue[_Placed]) -> None:
        while True:
            placed = await waiting.get()
            await self._carry_out(placed)
            waiting.task_done()

    async def _carry_out(self, placed: _Placed) -> None:
        order = placed.order
        unfinished = LineOutcome.PENDING
        try:
            shard = await self._reads.customer_shard(order.customer_id)
            result = await self._styles.carry_out(order, shard, self._limit_seconds)
        except Unreachable:
            result = None
        except WorkflowFailed:
            result = None
            unfinished = LineOutcome.FAILED
        if result is None:
            await self._settle_by_row(placed, unfinished)
        elif result.content_hash != order.content_hash or _is_conflict(result.refusal):
            self._conflict(placed)
        else:
            self._settle(placed, result.status, result.refusal)

    async def _settle_by_row(self, placed: _Placed, unfinished: LineOutcome) -> None:
        """The row can be final while its workflow is not: after the decision, steps may wait for their shards."""
        order = placed.order
        known = (await self._reads.read([order.order_id], skip_unreachable=True)).get(order.order_id)
        if known is not None and known.lookup.content_hash != order.content_hash:
            self._conflict(placed)
        elif known is not None and known.is_final:
            self._settle(placed, known.status, known.refusal)
        else:
            self._count(placed.line, unfinished)

    def _settle(self, placed: _Placed, status: OrderStatus, refusal: Refusal | None) -> None:
        outcome = LineOutcome(status.value)
        if refusal is not None and outcome is LineOutcome.REJECTED:
            self.tally.by_reason[refusal.reason] += 1
        self._count(placed.line, outcome)

    def _conflict(self, placed: _Placed) -> None:
        self.tally.by_reason[Reason.ID_CONFLICT] += 1
        message = f"order_id: {placed.order.order_id} already names an order with other content"
        self._invalid(placed.line, message)

    def _invalid(self, line: NumberedLine, message: str) -> None:
        self._on_invalid(line.number, message)
        self._count(line, LineOutcome.INVALID)

    def _count(self, line: NumberedLine, outcome: LineOutcome) -> None:
        self.tally.outcomes[outcome] += 1
        self.tally.bytes_done += line.size


def _is_conflict(refusal: Refusal | None) -> bool:
    return refusal is not None and refusal.reason is Reason.ID_CONFLICT
