"""Reads orders from the shards in batches: lookup rows by order id, then order rows by customer."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from domain.errors import Unreachable
from domain.orders import OrderStatus, PricedLine, Style, closing_state
from domain.sagas import Refusal
from domain.shard_map import Route, ShardMap
from shards.connections.concurrency import gather_all
from shards.orders import lookup as order_lookup
from shards.orders import order_row, queries
from shards.orders.lookup import Lookup
from shards.orders.order_row import OrderRow
from shards.routing.router import Reads
from shards.routing.shard_transaction import ShardTransaction

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class KnownOrder:
    """An order whose id is taken. If `row` is None, it was refused before it had one, or has not been opened yet."""

    lookup: Lookup
    row: OrderRow | None

    @property
    def refusal(self) -> Refusal | None:
        return self.row.refusal if self.row else self.lookup.refusal

    @property
    def status(self) -> OrderStatus:
        """Never `stuck`: only the workflow knows that."""
        if self.row is not None:
            return OrderStatus.of_state(self.row.state)
        refusal = self.lookup.refusal
        return OrderStatus.of_state(closing_state(refusal.reason)) if refusal else OrderStatus.PENDING

    @property
    def style(self) -> Style:
        """The style of the first request under this id, whatever a later caller asks for."""
        return self.lookup.request.style

    @property
    def is_final(self) -> bool:
        return self.row.state.is_final if self.row else self.lookup.refusal is not None


class OrderReads:
    """Through a `Router` it reads the primaries, and so sees at once what a workflow has committed."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    async def find(self, order_id: str) -> KnownOrder | None:
        return (await self.read([order_id])).get(order_id)

    async def read(self, order_ids: Sequence[str], skip_unreachable: bool = False) -> dict[str, KnownOrder]:
        """Those of `order_ids` that are taken: two queries a shard, however many ids.

        `skip_unreachable` leaves out orders whose shard is away; otherwise that raises `Unreachable`.
        """
        lookups = await self._on_owners(order_ids, ShardMap.of_order_id, order_lookup.read, skip_unreachable)
        with_row = {order_id: lookup.customer_id for order_id, lookup in lookups.items() if lookup.refusal is None}
        answered: set[str] = set()
        rows = await self.rows(with_row, skip_unreachable, answered)
        return {
            order_id: KnownOrder(lookup, rows.get(order_id))
            for order_id, lookup in lookups.items()
            if lookup.refusal is not None or order_id in answered
        }

    async def rows(
        self, customers: Mapping[str, str], skip_unreachable: bool = False, answered: set[str] | None = None
    ) -> dict[str, OrderRow]:
        """The rows of those orders that have one, by order id; `customers` maps order ids to customers. One query a
        shard.

        The ids whose shard was reached are added to `answered`, whether or not they have a row.
        """

        async def read_rows(tx: ShardTransaction, ids: list[str]) -> dict[str, OrderRow]:
            rows = await order_row.read_orders(tx, ids)
            if answered is not None:
                answered.update(ids)
            return rows

        def owner(shard_map: ShardMap, order_id: str) -> Route:
            return shard_map.of_customer(customers[order_id])

        return await self._on_owners(customers, owner, read_rows, skip_unreachable)

    async def lines(self, rows: Iterable[OrderRow]) -> dict[str, list[PricedLine]]:
        customers = {row.order_id: row.customer_id for row in rows}

        def owner(shard_map: ShardMap, order_id: str) -> Route:
            return shard_map.of_customer(customers[order_id])

        return await self._on_owners(customers, owner, queries.lines_of_orders)

    async def customer_currency(self, customer_id: str) -> str | None:
        return await self._reads.read(
            lambda m: m.of_customer(customer_id), lambda tx: queries.customer_currency(tx, customer_id)
        )

    async def customer_shard(self, customer_id: str) -> str:
        return (await self._reads.map()).of_customer(customer_id).shard

    async def _on_owners(
        self,
        keys: Iterable[str],
        owner: Callable[[ShardMap, str], Route],
        read: Callable[[ShardTransaction, list[str]], Awaitable[dict[str, Found]]],
        skip_unreachable: bool = False,
    ) -> dict[str, Found]:
        """`read` once on each shard, with the keys that it owns."""
        shard_map = await self._reads.map()
        by_shard: dict[str, list[str]] = {}
        for key in keys:
            by_shard.setdefault(owner(shard_map, key).shard, []).append(key)

        async def read_part(part: list[str]) -> dict[str, Found]:
            with contextlib.suppress(Unreachable) if skip_unreachable else contextlib.nullcontext():
                return await self._reads.read(lambda m: owner(m, part[0]), lambda tx: read(tx, part))
            return {}

        found = await gather_all(read_part(part) for part in by_shard.values())
        return {key: value for part in found for key, value in part.items()}
