"""Lists and reports, from the read model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pydantic import Field, TypeAdapter

from domain.argument_types import check_collection
from domain.choices import choice
from domain.documents import Document
from domain.errors import Unreachable
from domain.identifiers import check_identifier
from domain.money import Amount, Money
from domain.orders import FINAL_STATES, OrderStatus
from domain.page_tokens import KeyId, KeyNumber, KeyTime, PageToken
from domain.timestamps import Day
from shards.accounts.statement import StatementLine
from shards.catalogue.reads import ListedProduct
from shards.read_model.order_details import OrderDetails, read_order_details
from shards.read_model.orders import OrderKey, list_orders, order_filter
from shards.read_model.pages import next_token, page_after
from shards.read_model.products import list_products
from shards.read_model.sales import Sales, SalesBy, report_sales, sales_filter
from shards.read_model.statement import read_statement_page
from shards.read_model.stock import ListedStock, list_stock
from shardwise.connections import Installation
from shardwise.orders.documents import OrderDocument, of_listed
from shardwise.reading import Consistency, Reading

__all__ = [
    "LIMIT",
    "ListedProduct",
    "ListedStock",
    "OrderDetails",
    "OrderDocument",
    "OrderPage",
    "OrderStatus",
    "ProductPage",
    "Queries",
    "Sales",
    "SalesBy",
    "SalesReport",
    "Statement",
    "StatementLine",
    "StockPage",
    "Total",
]

LIMIT = 50
_ORDERS: PageToken[OrderKey] = PageToken("orders", TypeAdapter(tuple[KeyTime, KeyId]))
_PRODUCTS: PageToken[str] = PageToken("products", TypeAdapter(KeyId))
_STOCK: PageToken[str] = PageToken("stock", TypeAdapter(KeyId))
_FINAL = frozenset(OrderStatus.of_state(state) for state in FINAL_STATES)


class OrderPage(Document):
    """Newest first. `next` goes into `after` to get the next page; None if this is the last."""

    orders: tuple[OrderDocument, ...]
    next: str | None


class StockPage(Document):
    """By SKU. `next` as in `OrderPage`."""

    stock: tuple[ListedStock, ...]
    next: str | None


class ProductPage(Document):
    """By SKU. `next` as in `OrderPage`."""

    products: tuple[ListedProduct, ...]
    next: str | None


class Statement(Document):
    """`balance`: after the newest movement. `movements`: newest first. `next` as in `OrderPage`."""

    account_id: str
    currency: str
    balance: Amount
    movements: tuple[StatementLine, ...]
    next: str | None


class Total(Document):
    currency: str
    amount: Amount


class SalesReport(Document):
    """Days are those of the orders. `totals`: one for each currency."""

    by: SalesBy
    first_day: Day | None = Field(serialization_alias="from")
    last_day: Day | None = Field(serialization_alias="to")
    sku: str | None
    sales: tuple[Sales, ...]
    totals: tuple[Total, ...]


class Queries:
    """Each query is one statement on the read model, which follows the shards with a delay, and works while a shard is
    down. `consistency` says how much it must have: with a session at least what the session wrote, unless another level
    is named. It waits for that, some seconds at most: `NotAtPoint`, saying what is missing, or `SessionLost`.

    Changes nothing. Raises `InvalidInput` naming the argument, and `Unreachable` if the read model is down. Days and
    times are in UTC, written as ISO 8601.
    """

    def __init__(self, installation: Installation, reading: Reading) -> None:
        self._installation = installation
        self._reading = reading

    async def orders(
        self,
        customer: str | None = None,
        status: Iterable[OrderStatus | str] = (),
        since: str | None = None,
        until: str | None = None,
        day: str | None = None,
        limit: int = LIMIT,
        after: str | None = None,
        consistency: Consistency = None,
    ) -> OrderPage:
        """Orders by when they were placed, or by the `day` that sales count them to. No status means any.

        Only Temporal knows which are `stuck`: `Unreachable` if these are requested and Temporal does not answer.
        """
        statuses = [choice(OrderStatus, each, "status") for each in _statuses(status)]
        wanted = order_filter(customer, statuses, since, until, day)
        page = page_after(_ORDERS, limit, after)
        read = self._reading.lists(consistency)
        known = replace(wanted, stuck=await self._stuck(wanted.statuses))
        found = await self._installation.with_timeouts.read_model.run(
            lambda connection: list_orders(connection, known, page), read
        )
        return OrderPage(orders=tuple(of_listed(each) for each in found.rows), next=next_token(_ORDERS, found.next))

    async def order_details(self, order_id: str, consistency: Consistency = None) -> OrderDetails:
        """An order with its customer, its products and all its times. `NotFound` with `unknown_order` if there is
        none, or not yet."""
        check_identifier(order_id, "order_id")
        return await self._installation.with_timeouts.read_model.run(
            lambda connection: read_order_details(connection, order_id), self._reading.lists(consistency)
        )

    async def statement(
        self, account_id: str, limit: int = LIMIT, after: str | None = None, consistency: Consistency = None
    ) -> Statement:
        """An account's movements, each with the balance that it left behind. `NotFound` with `unknown_account`."""
        check_identifier(account_id, "account_id")
        token: PageToken[int] = PageToken(f"statement/{account_id}", TypeAdapter(KeyNumber))
        page = page_after(token, limit, after)
        found = await self._installation.with_timeouts.read_model.run(
            lambda connection: read_statement_page(connection, account_id, page), self._reading.lists(consistency)
        )
        return Statement(
            account_id=found.account_id,
            currency=found.balance.currency,
            balance=found.balance,
            movements=found.lines.rows,
            next=next_token(token, found.lines.next),
        )

    async def stock(self, limit: int = LIMIT, after: str | None = None, consistency: Consistency = None) -> StockPage:
        """The stock of all products."""
        page = page_after(_STOCK, limit, after)
        found = await self._installation.with_timeouts.read_model.run(
            lambda connection: list_stock(connection, page), self._reading.lists(consistency)
        )
        return StockPage(stock=found.rows, next=next_token(_STOCK, found.next))

    async def products(
        self, limit: int = LIMIT, after: str | None = None, consistency: Consistency = None
    ) -> ProductPage:
        """All products, with their prices."""
        page = page_after(_PRODUCTS, limit, after)
        found = await self._installation.with_timeouts.read_model.run(
            lambda connection: list_products(connection, page), self._reading.lists(consistency)
        )
        return ProductPage(products=found.rows, next=next_token(_PRODUCTS, found.next))

    async def sales(
        self,
        first_day: str | None = None,
        last_day: str | None = None,
        sku: str | None = None,
        by: SalesBy | str = SalesBy.PRODUCT,
        consistency: Consistency = None,
    ) -> SalesReport:
        """Sums over confirmed orders. Without time limits: a report of years takes longer than any page."""
        wanted = sales_filter(first_day, last_day, sku)
        chosen = choice(SalesBy, by, "by")
        found = await self._installation.without_timeouts.read_model.run(
            lambda connection: report_sales(connection, wanted, chosen), self._reading.lists(consistency)
        )
        return SalesReport(
            by=chosen,
            first_day=wanted.first_day,
            last_day=wanted.last_day,
            sku=wanted.sku,
            sales=tuple(found),
            totals=_totals(found),
        )

    async def _stuck(self, statuses: frozenset[OrderStatus]) -> frozenset[str]:
        """As Temporal knew a moment ago. If it is down: none, or `Unreachable` if `stuck` is requested."""
        if statuses and statuses <= _FINAL:
            return frozenset()
        # Imported here: other queries need not load the code about workflows.
        from shardwise.orders.styles import OrderStyles

        to = self._installation.with_timeouts
        ids = await OrderStyles(to.temporal, to.router, self._installation.settings).stuck_order_ids()
        if ids is None and OrderStatus.STUCK in statuses:
            raise Unreachable("temporal_unreachable", "Temporal, which knows what is stuck, does not answer")
        return frozenset(ids or ())


def _statuses(status: Iterable[OrderStatus | str]) -> Iterable[str]:
    return [status] if isinstance(status, str) else check_collection(status, "status", "states of orders")


def _totals(found: list[Sales]) -> tuple[Total, ...]:
    totals: dict[str, Money] = {}
    for each in found:
        totals[each.currency] = totals.get(each.currency, Money.zero(each.currency)) + each.amount
    return tuple(Total(currency=currency, amount=totals[currency]) for currency in sorted(totals))
