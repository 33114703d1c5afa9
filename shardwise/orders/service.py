"""Orders: place, show, cancel, retry, import."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

from domain.argument_types import check_collection
from domain.choices import choice
from domain.errors import InvalidInput, NotFound, Refused, Unreachable
from domain.identifiers import check_identifier, merchant_account_id, order_saga_id, shown
from domain.money import Money, check_amount, check_currency
from domain.numbers import check_quantity, check_seconds, check_whole
from domain.orders import Order, OrderLine, OrderStatus, Style, check_order, merge_lines
from domain.sagas import Reason
from domain.shard_map import Route, ShardMap
from shards.audit.sagas.gathering import gather
from shards.audit.sagas.judgement import judge
from shards.orders.reads import KnownOrder, OrderReads
from shardwise.connections import Installation
from shardwise.files.order_file import opened_orders, read_batches
from shardwise.new_ids import new_id
from shardwise.orders import documents
from shardwise.orders.documents import OrderDocument
from shardwise.orders.importing import OrderImport, Tally
from shardwise.orders.sagas import ObservedWorkflow
from shardwise.orders.styles import OrderStyles
from shardwise.reading import Consistency, Reading
from shardwise.temporal.calls import WorkflowFailed

CURRENCY_OF_UNKNOWN_CUSTOMERS = "USD"
WAIT_SECONDS = 30.0
CONCURRENCY_MAX = 1000
NO_WORKER = "no worker polls for orders: this one waits for one (`shardwise up` or `shardwise worker`)"

GivenLine = tuple[str, int] | tuple[str, int, str | None]
"""SKU, quantity, and the unit price, a decimal, if one was agreed."""


class Retried(NamedTuple):
    """`is_worked_on`: whether a workflow works on the order now."""

    order: OrderDocument
    is_worked_on: bool


class Orders:
    """Raises `InvalidInput` naming the argument, `Refused`, `NotFound` with `unknown_order`, and `Unreachable`."""

    def __init__(self, installation: Installation, reading: Reading) -> None:
        self._installation = installation
        self._reading = reading

    @property
    def _styles(self) -> OrderStyles:
        self._installation.assert_open()
        return self._shared_styles

    @cached_property
    def _shared_styles(self) -> OrderStyles:
        """One for all callers: those that wait for choreographed orders share their queries."""
        to = self._installation.with_timeouts
        return OrderStyles(to.temporal, to.router, self._installation.settings)

    @property
    def _reads(self) -> OrderReads:
        return OrderReads(self._installation.with_timeouts.router)

    async def place(
        self,
        customer: str,
        lines: Sequence[GivenLine],
        order_id: str | None = None,
        currency: str | None = None,
        style: Style | str = Style.ORCHESTRATED,
        wait: float = WAIT_SECONDS,
        say: Callable[[str], None] | None = None,
    ) -> OrderDocument:
        """Places an order, in the currency of the customer's account if none is given. See `place_order`.

        Without an `order_id` it gets a new one, and a repeat is another order. `say` is called with a message if no
        worker polls, so that the order will wait for one.
        """
        chosen = new_id() if order_id is None else check_identifier(order_id, "order_id")
        check_identifier(customer, "customer")
        if currency is not None:
            check_currency(currency)
        given = [_given(each, f"lines.{n}") for n, each in enumerate(check_collection(lines, "lines", "lines"))]
        chosen_style = choice(Style, style, "style")
        spent = currency or await self._currency_of(customer)
        ordered = merge_lines([_line(each, spent) for each in given])
        order = check_order(Order(chosen, customer, spent, ordered, style=chosen_style))
        if say is not None and not await self.has_worker(chosen_style):
            say(NO_WORKER)
        return await self.place_order(order, wait)

    async def place_order(self, order: Order, wait: float = WAIT_SECONDS) -> OrderDocument:
        """Returns the order when it is final, or as it is after `wait` seconds.

        Idempotent by order id and content; `Refused` with `id_conflict` if the id has other content, with
        `id_held` if a workflow that is none of ours holds it. Once started, the order is carried out whatever becomes
        of the caller. `Unreachable` if it may not have started: place it again under the same id.
        """
        check_order(order)
        check_seconds(wait, "wait")
        return await self._told(await self._placed(order, wait))

    async def _placed(self, order: Order, wait: float) -> OrderDocument:
        known = None
        with contextlib.suppress(Unreachable):  # The order is accepted all the same, and waits for its shard.
            known = await self._reads.find(order.order_id)
        if known is not None:
            _assert_same_content(order, known.lookup.content_hash)
            if known.is_final:
                return await self._document(known)
            order = replace(order, style=known.style)
        shard = await self._reads.customer_shard(order.customer_id)
        with contextlib.suppress(WorkflowFailed):  # The row says how far it came.
            result = await self._styles.carry_out(order, shard, wait)
            if result is not None:
                _assert_same_content(order, result.content_hash)
                if result.refusal is not None and result.refusal.reason is Reason.ID_CONFLICT:
                    raise _other_content(order.order_id)
        return await self._just_placed(order, shard)

    async def show(self, order_id: str, consistency: Consistency = None) -> OrderDocument:
        """The order as it is now, or its rows at another level. `NotFound` with `unknown_order`; `Refused` with
        `invalid_input` if its workflow was started with input that no rule allows, with `id_held` if a workflow that is
        none of ours holds its id."""
        check_identifier(order_id, "order_id")
        return await self._shown(order_id, OrderReads(self._reading.strong(consistency)))

    async def _shown(self, order_id: str, reads: OrderReads) -> OrderDocument:
        known = await reads.find(order_id)
        return await self._document(known, reads) if known is not None else await self._unclaimed(order_id)

    async def _told(self, order: OrderDocument) -> OrderDocument:
        """Stamps the shards that an order concerns, whether or not they were reached yet."""

        def concerned(shard_map: ShardMap) -> Iterator[Route]:
            yield shard_map.of_order_id(order.order_id)
            yield from (shard_map.of_sku(line.sku) for line in order.lines)
            if order.customer_id is not None:
                yield shard_map.of_customer(order.customer_id)
            if order.currency is not None:
                yield shard_map.of_account(merchant_account_id(order.currency))

        await self._reading.wrote(concerned, order.is_final)
        return order

    async def cancel(self, order_id: str, wait: float = WAIT_SECONDS) -> OrderDocument:
        """Returns the order when it has ended, or as it is after `wait` seconds: its status shows whether the cancel
        won.

        A final order stays as it is. If an orchestrated order has lost its workflow, a new one undoes it; a
        choreographed order is cancelled by its row. Idempotent.
        """
        check_seconds(wait, "wait")
        check_identifier(order_id, "order_id")
        before = await self._shown(order_id, self._reads)
        if before.is_final:
            return await self._told(before)
        known = await self._reads.find(order_id)
        if known is None:
            await self._styles.cancel_unclaimed(order_id, wait)
        else:
            shard = await self._reads.customer_shard(known.lookup.customer_id)
            await self._styles.cancel(known.lookup.request, shard, wait)
        return await self._told(await self._shown(order_id, self._reads))

    async def retry(self, order_id: str, wait: float = WAIT_SECONDS) -> Retried:
        """Has the order's waiting steps tried again at once.

        Also for a final row: after the decision the stock and the merchant's credit may still wait for their shards.
        If no workflow takes the request and the rows say that something is due, that is started again. Harmless if
        nothing waits.
        """
        check_seconds(wait, "wait")
        check_identifier(order_id, "order_id")
        before = await self._shown(order_id, self._reads)
        taken = await self._styles.retry(order_id, before.style, wait)
        if not taken and await self._is_due(order_id):
            known = await self._reads.find(order_id)
            if known is not None:
                shard = await self._reads.customer_shard(known.lookup.customer_id)
                is_decided = known.status is not OrderStatus.PENDING
                await self._styles.resume(known.lookup.request, shard, is_decided)
                taken = True
        return Retried(await self._told(await self._shown(order_id, self._reads)), taken)

    async def _is_due(self, order_id: str) -> bool:
        """Whether the order's rows are correct only while a workflow works on it."""
        saga_id = order_saga_id(order_id)
        dossier = (await gather(self._installation.with_timeouts.cluster, [saga_id]))[saga_id]
        return any(fault.while_open for fault in judge(dossier))

    async def import_file(
        self,
        file: str | Path | BinaryIO,
        on_invalid: Callable[[int, str], None],
        style: Style | str = Style.ORCHESTRATED,
        concurrency: int = 50,
        stuck_after: float = 60.0,
        tally: Tally | None = None,
        say: Callable[[str], None] | None = None,
    ) -> Tally:
        """Places every order of a file, one JSON document a line, and counts how they ended. See `OrderImport`. `file`
        is a path, `-` for standard input, or a binary file that is open.

        Safe to repeat, also after a kill. `on_invalid` is called with the number of an invalid line and what is wrong
        with it. `tally` is updated while the import runs.
        """
        chosen = choice(Style, style, "style")
        check_whole(concurrency, "concurrency", 1, CONCURRENCY_MAX)
        check_seconds(stuck_after, "stuck_after", above_zero=True)
        counts = tally if tally is not None else Tally()
        with opened_orders(file) as source:
            # Before any order is placed: without either server, orders that are final could not be recognised.
            await asyncio.gather(
                self._installation.with_timeouts.router.map(), self._installation.with_timeouts.temporal()
            )
            if say is not None and not await self.has_worker(chosen):
                say("no worker polls for orders: they will wait for one (`shardwise up` or `shardwise worker`)")
            work = OrderImport(self._reads, self._styles, chosen, concurrency, stuck_after, on_invalid, counts)
            tally = await work.run(read_batches(source))
        await self._reading.wrote_anywhere()
        return tally

    async def has_worker(self, style: Style | str = Style.ORCHESTRATED) -> bool:
        """Whether workers poll for orders of this style. Without them, orders are taken and wait."""
        return await self._styles.has_worker(choice(Style, style, "style"))

    async def _currency_of(self, customer: str) -> str:
        try:
            return await self._reads.customer_currency(customer) or CURRENCY_OF_UNKNOWN_CUSTOMERS
        except Unreachable as error:
            message = f"{error.message}; nothing was placed"
            raise Unreachable(error.code, message) from error

    async def _just_placed(self, order: Order, shard: str) -> OrderDocument:
        known = None
        with contextlib.suppress(Unreachable):
            known = await self._reads.find(order.order_id)
        if known is None or not known.is_final:
            await self._styles.assert_ours(order.order_id, order.style)
        if known is None:
            return documents.of_request(order, OrderStatus.PENDING, shard)
        _assert_same_content(order, known.lookup.content_hash)
        return await self._document(known)

    async def _document(self, known: KnownOrder, reads: OrderReads | None = None) -> OrderDocument:
        order_id, status, waits = known.lookup.order_id, known.status, None
        if not known.is_final:
            seen, waits = await asyncio.gather(
                self._styles.observe(order_id, known.style), self._styles.waits_for(order_id, known.style)
            )
            status = OrderStatus.STUCK if seen is not None and seen.is_stuck else status
        shard = await self._reads.customer_shard(known.lookup.customer_id)
        if known.row is not None:
            lines = await (reads or self._reads).lines([known.row])
            found = documents.of_row(known.row, status, lines.get(order_id, []), shard)
        else:
            found = documents.of_request(known.lookup.request, status, shard, known.refusal)
        return found.model_copy(update={"waits_for": waits})

    async def _unclaimed(self, order_id: str) -> OrderDocument:
        """For an order without a row: not claimed yet, or not until `recover`; refused at its start; or unknown."""
        refused: InvalidInput | None = None
        for style in Style:
            seen = await self._styles.observe(order_id, style)
            if seen is None:
                message = f"no shard knows order {order_id}; Temporal, which might, does not answer"
                raise Unreachable("temporal_unreachable", message)
            if not seen.is_known:
                continue
            if not seen.is_running and (known := await self._reads.find(order_id)) is not None:
                return await self._document(known)  # It has ended since the shards were read.
            await self._styles.assert_ours(order_id, style)
            try:
                request = await self._styles.request_of(order_id, style)
            except InvalidInput as fault:
                refused = fault
                continue
            return await self._only_placed(order_id, request, seen)
        if refused is not None:
            message = f"order {order_id} cannot be carried out as it was started: {refused.message}"
            raise Refused(refused.code, message, refused.field)
        raise NotFound("unknown_order", f"there is no order {order_id}")

    async def _only_placed(self, order_id: str, request: Order | None, seen: ObservedWorkflow) -> OrderDocument:
        status = OrderStatus.STUCK if seen.is_stuck else OrderStatus.PENDING
        if request is None:
            raise Unreachable("temporal_unreachable", f"Temporal does not know what order {order_id} was started with")
        found = documents.of_request(request, status, await self._reads.customer_shard(request.customer_id))
        return found.model_copy(update={"waits_for": await self._styles.waits_for(order_id, request.style)})


def _given(line: GivenLine, field: str) -> tuple[str, int, str | None]:
    if not isinstance(line, tuple) or not 2 <= len(line) <= 3:
        raise InvalidInput(field, f"{field}: expected (SKU, quantity) or (SKU, quantity, price), got {shown(line)}")
    check_identifier(line[0], f"{field}.sku")
    check_quantity(line[1], f"{field}.quantity")
    return line[0], line[1], line[2] if len(line) == 3 else None


def _line(given: tuple[str, int, str | None], currency: str) -> OrderLine:
    sku, quantity, price = given
    agreed = check_amount(Money.parse(price, currency, "line"), "line") if price is not None else None
    return OrderLine(sku, quantity, agreed)


def _assert_same_content(order: Order, content_hash: str) -> None:
    if content_hash != order.content_hash:
        raise _other_content(order.order_id)


def _other_content(order_id: str) -> Refused:
    return Refused(Reason.ID_CONFLICT, f"order id {order_id} already names an order with other content")
