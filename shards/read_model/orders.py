"""Lists of orders, newest first, each order with its lines. Those of `shardwise contrast` are left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import InvalidInput
from domain.identifiers import check_identifier
from domain.money import Money
from domain.orders import FINAL_STATES, STATE_OF_STATUS, OrderState, OrderStatus, PricedLine, Style
from domain.periods import parse_day, parse_end, parse_start
from domain.sagas import Reason
from shards.read_model.left_out import not_of_contrast
from shards.read_model.pages import Page, PageAfter, page_of

OrderKey = tuple[datetime, str]

# The page is cut before its lines are joined. Each branch is in the order of an index and at most as long as the page.
_LIST = """
    SELECT page.*, lines.skus, lines.quantities, lines.unit_prices
    FROM (SELECT * FROM ({branches}) AS found ORDER BY placed_at DESC, id DESC LIMIT :limit) AS page
    LEFT JOIN LATERAL (
        SELECT array_agg(sku ORDER BY n) AS skus, array_agg(quantity ORDER BY n) AS quantities,
               array_agg(unit_price ORDER BY n) AS unit_prices
        FROM live.order_item WHERE order_id = page.id
    ) AS lines ON true
    ORDER BY page.placed_at DESC, page.id DESC
"""
_BRANCH = """
    (SELECT id, shard, customer_id, style, currency, total, state, reason, detail, placed_at, decided_at
     FROM live.order_details WHERE {conditions} ORDER BY placed_at DESC, id DESC LIMIT :limit)
"""
# A literal, never user input, so that the branch is planned for its state.
_BY_STATE = "state = '{state}'"
_NOT_STUCK = "(state NOT IN ('pending', 'aborting') OR id <> ALL(CAST(:stuck AS text[])))"
_STUCK = "(state IN ('pending', 'aborting') AND id = ANY(CAST(:stuck AS text[])))"
_CONDITIONS = {
    "customer_id": "customer_id = :customer_id",
    "since": "placed_at >= :since",
    "until": "placed_at < :until",
    "day": "day = :day",
}
_NOT_OF_CONTRAST = not_of_contrast("id")
_AFTER = "(placed_at, id) < (CAST(:after_time AS timestamptz), CAST(:after_id AS text))"


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """None, or an empty `statuses`, means any. `until` is exclusive; `day` is the day that sales count an order to.

    The rows do not show which orders are stuck, so the caller names them in `stuck`: if unfinished, they have that
    status and no other.
    """

    statuses: frozenset[OrderStatus] = frozenset()
    customer_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    day: date | None = None
    stuck: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ListedOrder:
    """`shard` is the customer's shard."""

    order_id: str
    status: OrderStatus
    reason: Reason | None
    detail: str | None
    total: Money
    lines: tuple[PricedLine, ...]
    customer_id: str
    shard: str
    placed_at: datetime
    decided_at: datetime | None
    style: Style


async def list_orders(
    connection: AsyncConnection, wanted: OrderFilter, page: PageAfter[OrderKey]
) -> Page[ListedOrder, OrderKey]:
    """The newest orders that match `wanted`, by the time when they were placed, then by id."""
    found = await connection.execute(text(_statement(wanted, page)), _parameters(wanted, page))
    orders = [_order_of(row, wanted.stuck) for row in found]
    return page_of(orders, page, lambda order: (order.placed_at, order.order_id))


def _statement(wanted: OrderFilter, page: PageAfter[OrderKey]) -> str:
    everywhere = [_NOT_OF_CONTRAST]
    everywhere += [sql for name, sql in _CONDITIONS.items() if getattr(wanted, name) is not None]
    if page.after is not None:
        everywhere.append(_AFTER)
    branches = [_BRANCH.format(conditions=" AND ".join([*branch, *everywhere])) for branch in _by_status(wanted)]
    return _LIST.format(branches=" UNION ALL ".join(branches))


def _by_status(wanted: OrderFilter) -> list[list[str]]:
    """The conditions of one branch per status, so that a rare status is not searched for among all orders."""
    if not wanted.statuses:
        return [[]]
    states = sorted(STATE_OF_STATUS[status] for status in wanted.statuses - {OrderStatus.STUCK})
    branches = [[_BY_STATE.format(state=state.value), *_unless_stuck(state, wanted)] for state in states]
    return [*branches, [_STUCK]] if OrderStatus.STUCK in wanted.statuses else branches


def _unless_stuck(state: OrderState, wanted: OrderFilter) -> list[str]:
    return [_NOT_STUCK] if wanted.stuck and state not in FINAL_STATES else []


def _parameters(wanted: OrderFilter, page: PageAfter[OrderKey]) -> dict[str, object]:
    given: dict[str, object] = {name: getattr(wanted, name) for name in _CONDITIONS}
    after = dict(zip(("after_time", "after_id"), page.after or (), strict=False))
    return given | after | {"stuck": sorted(wanted.stuck), "limit": page.rows_read}


def _order_of(row: Any, stuck: frozenset[str]) -> ListedOrder:
    state = OrderState(row.state)
    is_stuck = row.id in stuck and not state.is_final
    lines = zip(row.skus or (), row.quantities or (), row.unit_prices or (), strict=True)
    return ListedOrder(
        row.id,
        OrderStatus.STUCK if is_stuck else OrderStatus.of_state(state),
        Reason(row.reason) if row.reason else None,
        row.detail,
        Money(row.total, row.currency),
        tuple(PricedLine(sku, quantity, Money(price, row.currency)) for sku, quantity, price in lines),
        row.customer_id,
        row.shard,
        row.placed_at,
        row.decided_at,
        Style(row.style),
    )


def order_filter(
    customer: str | None, statuses: Iterable[OrderStatus], since: str | None, until: str | None, day: str | None
) -> OrderFilter:
    """The filter for arguments as a person writes them. `InvalidInput` names a wrong one."""
    if customer is not None:
        check_identifier(customer, "customer")
    start = parse_start(since, "since") if since is not None else None
    end = parse_end(until, "until") if until is not None else None
    if start is not None and end is not None and end <= start:
        raise InvalidInput("until", "until: expected a time after since")
    return OrderFilter(
        statuses=frozenset(statuses),
        customer_id=customer,
        since=start,
        until=end,
        day=parse_day(day, "day") if day is not None else None,
    )
