"""The order desk: what people and programs may ask about orders, whatever they ask through. Prints nothing."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from cli import order_documents as documents
from cli.connections import Connections
from cli.order_book import KnownOrder, OrderBook
from cli.order_documents import OrderDocument
from cli.order_sagas import Seen
from cli.order_styles import OrderStyles
from cli.saga_calls import SagaBroke
from domain.errors import InvalidInput, Refused, Unreachable
from domain.identifiers import check_identifier, order_saga_id
from domain.orders import Order, OrderStatus, Style
from domain.sagas import Reason
from shards.audit.gathering import gather
from shards.audit.judgement import judge
from stack.settings import Settings


class OrderDesk:
    def __init__(self, connections: Connections, settings: Settings) -> None:
        self._styles = OrderStyles(connections.temporal, connections.router, settings)
        self._book = OrderBook(connections.router)
        self._cluster = connections.cluster

    async def place(self, order: Order, wait_seconds: float) -> OrderDocument:
        """The order as it stands when it is final, or after `wait_seconds`.

        Idempotent by order id and content; the same id with other content is `Refused` with `id_conflict`, one that a
        workflow holds which is none of ours with `id_held`. From its start the order is carried out whatever becomes of
        the caller. `Unreachable` where it may not have started:
        place it again under the same id.
        """
        known = None
        with contextlib.suppress(Unreachable):  # The order is taken all the same, and waits for its shard.
            known = await self._book.find(order.order_id)
        if known is not None:
            _assert_same_content(order, known.lookup.content_hash)
            if known.is_final:
                return await self._document(known)
            order = replace(order, style=known.style)
        shard = await self._book.customer_shard(order.customer_id)
        with contextlib.suppress(SagaBroke):  # The row says how far it came.
            result = await self._styles.carry_out(order, shard, wait_seconds)
            if result is not None:
                _assert_same_content(order, result.content_hash)
                if result.refusal is not None and result.refusal.reason is Reason.ID_CONFLICT:
                    raise _other_content(order.order_id)
        return await self._just_placed(order, shard)

    async def show(self, order_id: str) -> OrderDocument:
        """`Refused` with `unknown_order` where there is none, with `invalid_input` where no rule allows what it was
        started with, with `id_held` where a workflow that is none of ours holds its id."""
        check_identifier(order_id, "order_id")
        known = await self._book.find(order_id)
        return await self._document(known) if known is not None else await self._unclaimed(order_id)

    async def cancel(self, order_id: str, wait_seconds: float) -> OrderDocument:
        """The order as it stands when it has come to its end, or after `wait_seconds`: whether the cancel won.

        A final order stays as it is. An orchestrated one that lost its workflow gets another, which undoes it; of a
        choreographed one the row is asked. Idempotent.
        """
        before = await self.show(order_id)
        if before.is_final:
            return before
        known = await self._book.find(order_id)
        if known is None:
            await self._styles.cancel_unclaimed(order_id, wait_seconds)
        else:
            shard = await self._book.customer_shard(known.lookup.customer_id)
            await self._styles.cancel(known.lookup.request, shard, wait_seconds)
        return await self.show(order_id)

    async def retry(self, order_id: str, wait_seconds: float) -> tuple[OrderDocument, bool]:
        """Has the order's waiting steps tried again at once: the order, and whether somebody works on it now.

        Also for a final row: after the decision the stock and the merchant's credit may still wait for their shards.
        Where no workflow takes the request and the rows say that something is due, what is due is started again.
        Harmless where nothing waits.
        """
        before = await self.show(order_id)
        taken = await self._styles.retry(order_id, before.style, wait_seconds)
        if not taken and await self._is_due(order_id):
            known = await self._book.find(order_id)
            if known is not None:
                shard = await self._book.customer_shard(known.lookup.customer_id)
                is_decided = known.status is not OrderStatus.PENDING
                await self._styles.resume(known.lookup.request, shard, is_decided)
                taken = True
        return await self.show(order_id), taken

    async def _is_due(self, order_id: str) -> bool:
        """Whether the order's rows are right only while somebody works on it."""
        saga_id = order_saga_id(order_id)
        dossier = (await gather(self._cluster, [saga_id]))[saga_id]
        return any(fault.while_open for fault in judge(dossier))

    async def currency_of(self, customer_id: str) -> str | None:
        """The currency of the customer's account; None for an unknown customer."""
        return await self._book.customer_currency(customer_id)

    async def has_worker(self, style: Style) -> bool:
        """Whether workers poll for orders of this style. Without them, orders are taken and wait."""
        return await self._styles.has_worker(style)

    async def _just_placed(self, order: Order, shard: str) -> OrderDocument:
        known = None
        with contextlib.suppress(Unreachable):
            known = await self._book.find(order.order_id)
        if known is None or not known.is_final:
            await self._styles.assert_ours(order.order_id, order.style)
        if known is None:
            return documents.of_request(order, OrderStatus.PENDING, shard)
        _assert_same_content(order, known.lookup.content_hash)
        return await self._document(known)

    async def _document(self, known: KnownOrder) -> OrderDocument:
        order_id, status, waits = known.lookup.order_id, known.status, None
        if not known.is_final:
            seen, waits = await asyncio.gather(
                self._styles.seen(order_id, known.style), self._styles.waits_for(order_id, known.style)
            )
            status = OrderStatus.STUCK if seen is not None and seen.is_stuck else status
        shard = await self._book.customer_shard(known.lookup.customer_id)
        if known.row is not None:
            lines = await self._book.lines([known.row])
            found = documents.of_row(known.row, status, lines.get(order_id, []), shard)
        else:
            found = documents.of_request(known.lookup.request, status, shard, known.refusal)
        return found.model_copy(update={"waits_for": waits})

    async def _unclaimed(self, order_id: str) -> OrderDocument:
        """Placed, but its id was not claimed yet, or not until `recover`; refused at its start; or unknown."""
        refused: InvalidInput | None = None
        for style in Style:
            seen = await self._styles.seen(order_id, style)
            if seen is None:
                message = f"no shard knows order {order_id}; Temporal, which might, does not answer"
                raise Unreachable("temporal_unreachable", message)
            if not seen.is_known:
                continue
            if not seen.is_running and (known := await self._book.find(order_id)) is not None:
                return await self._document(known)  # It came to its end since the shards were asked.
            await self._styles.assert_ours(order_id, style)
            try:
                asked = await self._styles.asked_for(order_id, style)
            except InvalidInput as fault:
                refused = fault
                continue
            return await self._only_placed(order_id, asked, seen)
        if refused is not None:
            message = f"order {order_id} cannot be carried out as it was started: {refused.message}"
            raise Refused(refused.code, message, refused.field)
        raise Refused("unknown_order", f"there is no order {order_id}")

    async def _only_placed(self, order_id: str, asked: Order | None, seen: Seen) -> OrderDocument:
        status = OrderStatus.STUCK if seen.is_stuck else OrderStatus.PENDING
        if asked is None:
            raise Unreachable("temporal_unreachable", f"Temporal does not tell what order {order_id} is about")
        found = documents.of_request(asked, status, await self._book.customer_shard(asked.customer_id))
        return found.model_copy(update={"waits_for": await self._styles.waits_for(order_id, asked.style)})


def _assert_same_content(order: Order, content_hash: str) -> None:
    if content_hash != order.content_hash:
        raise _other_content(order.order_id)


def _other_content(order_id: str) -> Refused:
    return Refused(Reason.ID_CONFLICT, f"order id {order_id} already names an order with other content")
