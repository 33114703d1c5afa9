"""A worker may have cached the map before the first products came: their import cuts the SKU ranges."""

from __future__ import annotations

import pytest

from activities.interfaces import StockStep
from activities.orders import ShardedOrderActivities
from activities.stock import ShardedStockActivities
from domain.catalogue import Product
from domain.money import Money
from domain.orders import Order, OrderLine
from shards.catalogue.imports import import_products
from shards.connections.cluster import Cluster
from shards.routing.router import Router

SKUS = ("APPLE", "MANGO", "PEAR")


@pytest.fixture
async def router_from_before(cluster: Cluster) -> Router:
    router = Router(cluster)
    assert not (await router.map()).ranges_cut
    products = [Product(sku, sku, Money(100, "USD"), 5) for sku in SKUS]
    await import_products(Router(cluster), products)
    return router


def _order() -> Order:
    return Order("O1", "C1", "USD", tuple(OrderLine(sku, 1) for sku in SKUS))


async def test_an_order_is_planned_over_the_ranges_that_were_cut(router_from_before: Router) -> None:
    claimed = await ShardedOrderActivities(router_from_before).claim_order_id(_order())
    assert [share.shard for share in claimed.stock] == ["shard-1", "shard-2", "shard-3"]
    stock = ShardedStockActivities(router_from_before)
    answers = [await stock.reserve_stock(StockStep("order/O1", "USD", share)) for share in claimed.stock]
    assert [answer.refusal for answer in answers] == [None, None, None]


async def test_prices_are_found_through_a_map_from_before(router_from_before: Router) -> None:
    priced = await ShardedOrderActivities(router_from_before).price_lines(_order())
    assert priced.refusal is None
    assert [line.unit_price for line in priced.lines] == [Money(100, "USD")] * 3
