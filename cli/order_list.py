"""`order list`, from the read model."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer
from pydantic import TypeAdapter

from cli.common import DataDir, run_async
from cli.connections import Connections, connected
from cli.order_documents import OrderDocument, of_listed
from cli.order_styles import OrderStyles
from cli.output import listed, output, table
from cli.paging import LIMIT, After, Limit, next_token, page_after, with_next
from domain.errors import InvalidInput, Unreachable
from domain.identifiers import check_identifier
from domain.orders import FINAL_STATES, OrderStatus
from domain.page_tokens import KeyId, KeyTime, PageToken
from domain.periods import parse_day, parse_end, parse_start
from domain.timestamps import short_timestamp
from shards.queries.orders import ListedOrder, OrderFilter, OrderKey
from shards.queries.orders import list_orders as read_orders
from shards.queries.pages import Page, PageAfter
from stack.settings import Settings, load_settings

TOKEN: PageToken[OrderKey] = PageToken("orders", TypeAdapter(tuple[KeyTime, KeyId]))
_FINAL = frozenset(OrderStatus.of_state(state) for state in FINAL_STATES)


def list_orders(
    customer: Annotated[str | None, typer.Option(metavar="ID", help="The customer's.  [default: any]")] = None,
    status: Annotated[list[OrderStatus] | None, typer.Option(help="Repeatable.  [default: any]")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Placed then or later: a day (by UTC) or an ISO time.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Placed before that time, or on that day or before.")
    ] = None,
    day: Annotated[str | None, typer.Option(metavar="DAY", help="Counted to this day in `report sales`.")] = None,
    limit: Limit = LIMIT,
    after: After = None,
    data_dir: DataDir = None,
) -> None:
    """List orders, newest first, from the read model, which follows the shards with a delay.

    One refused before it had a row is told by `order show` only. What is `stuck` only Temporal knows: exit code 3 where
    that is asked for and Temporal does not answer.
    """
    wanted = _filter(customer, status, since, until, day)
    page = page_after(TOKEN, limit, after)
    found = run_async(_read(load_settings(data_dir), wanted, page))
    orders, following = [of_listed(order) for order in found.rows], next_token(TOKEN, found.next)
    columns = ("order", "status", "customer", "total", "placed", "shard")
    rows = table(
        columns, [_row(order) for order in orders], whole=("order", "customer", "placed"), words=("total", "shard")
    )
    human = with_next(listed(rows, "no orders"), following)
    output().result({"orders": [order.model_dump(mode="json") for order in orders], "next": following}, human)


def _filter(
    customer: str | None, statuses: list[OrderStatus] | None, since: str | None, until: str | None, day: str | None
) -> OrderFilter:
    if customer is not None:
        check_identifier(customer, "customer")
    start = parse_start(since, "since") if since is not None else None
    end = parse_end(until, "until") if until is not None else None
    if start is not None and end is not None and end <= start:
        raise InvalidInput("until", "until: expected a time after --since")
    return OrderFilter(
        statuses=frozenset(statuses or ()),
        customer_id=customer,
        since=start,
        until=end,
        day=parse_day(day, "day") if day is not None else None,
    )


async def _read(settings: Settings, wanted: OrderFilter, page: PageAfter[OrderKey]) -> Page[ListedOrder, OrderKey]:
    async with connected(settings) as to:
        known = replace(wanted, stuck=await _stuck(to, settings, wanted.statuses))
        return await to.read_model.ask(lambda connection: read_orders(connection, known, page))


async def _stuck(to: Connections, settings: Settings, statuses: frozenset[OrderStatus]) -> frozenset[str]:
    """As Temporal knew a moment ago; nothing where it is away, unless `stuck` is what is asked for: `Unreachable`."""
    if statuses and statuses <= _FINAL:
        return frozenset()
    ids = await OrderStyles(to.temporal, to.router, settings).stuck_order_ids()
    if ids is None and OrderStatus.STUCK in statuses:
        raise Unreachable("temporal_unreachable", "Temporal, which knows what is stuck, does not answer")
    return frozenset(ids or ())


def _row(order: OrderDocument) -> tuple[str, ...]:
    placed = short_timestamp(order.placed_at) if order.placed_at else ""
    total = f"{order.total} {order.currency}"
    return (
        order.order_id,
        f"{order.status}: {order.reason}" if order.reason else order.status,
        order.customer_id or "",
        total,
        placed,
        order.customer_shard or "",
    )
