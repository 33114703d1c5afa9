"""What the rows must add up to, worked out from the files of orders and from nothing that the product computed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from tests.soak.orders import BALANCES, STOCK, Wanted
from tests.support.command import Shardwise

_STATES = (
    "SELECT id, state FROM orders UNION ALL SELECT order_id, 'rejected' FROM order_lookup WHERE refused_reason <> ''"
)
_BALANCES = "SELECT id, posted, held FROM account WHERE kind IN ('customer', 'merchant')"
_GOODS = "SELECT sku, on_hand, reserved FROM stock"
_IN_ALL = "SELECT coalesce(sum(amount), 0) FROM entry"
_IN_CLEARING = """
    SELECT coalesce(sum(amount), 0) FROM entry WHERE account_id IN (SELECT id FROM account WHERE kind = 'clearing')
"""


@dataclass(frozen=True)
class Books:
    """All shards together, at rest. Money in cents."""

    states: list[tuple[str, str]]
    balances: dict[str, tuple[int, int]]
    """(posted, held)"""
    goods: dict[str, tuple[int, int]]
    """(on hand, reserved)"""
    entries: int
    clearing: int

    @property
    def money(self) -> int:
        """What customers and merchants have. Equity, where opening balances came from, is its negative."""
        return sum(posted for posted, _ in self.balances.values()) + self.clearing


def read_books(shardwise: Shardwise) -> Books:
    return asyncio.run(_read(list(shardwise.databases.shards.values())))


async def _read(dsns: Sequence[str]) -> Books:
    books = Books([], {}, {}, 0, 0)
    entries = clearing = 0
    for dsn in dsns:
        connection = await asyncpg.connect(dsn)
        try:
            books.states.extend((row["id"], row["state"]) for row in await connection.fetch(_STATES))
            books.balances.update(
                {row["id"]: (row["posted"], row["held"]) for row in await connection.fetch(_BALANCES)}
            )
            books.goods.update(
                {row["sku"]: (row["on_hand"], row["reserved"]) for row in await connection.fetch(_GOODS)}
            )
            entries += int(await connection.fetchval(_IN_ALL))
            clearing += int(await connection.fetchval(_IN_CLEARING))
        finally:
            await connection.close()
    return Books(books.states, books.balances, books.goods, entries, clearing)


def faults(before: Books, after: Books, orders: Sequence[Wanted], reported: Mapping[str, str]) -> Iterator[str]:
    """Everything in which the rows at rest differ from the orders placed and the statuses reported."""
    yield from _order_faults(after, orders, reported)
    state_of = dict(after.states)
    confirmed = [order for order in orders if state_of.get(order.order_id) == "confirmed"]
    yield from _money_faults(before, after, confirmed)
    yield from _stock_faults(after, confirmed)


def _order_faults(after: Books, orders: Sequence[Wanted], reported: Mapping[str, str]) -> Iterator[str]:
    times = Counter(order_id for order_id, _ in after.states)
    state_of = dict(after.states)
    for order in orders:
        name = order.order_id
        if times[name] != 1:
            yield f"{name} has {times[name]} rows"
        elif state_of[name] not in ("confirmed", "rejected", "cancelled"):
            yield f"{name} is {state_of[name]}"
        elif reported.get(name, state_of[name]) != state_of[name]:
            yield f"{name} was reported as {reported[name]}, but is {state_of[name]}"
    unasked = times.keys() - {order.order_id for order in orders}
    if unasked:
        yield f"nobody placed {sorted(unasked)[:5]}"


def _money_faults(before: Books, after: Books, confirmed: Sequence[Wanted]) -> Iterator[str]:
    if after.money != before.money:
        yield f"there were {before.money} cents, now there are {after.money}"
    for name, cents in (("all entries", after.entries), ("clearing", after.clearing)):
        if cents != 0:
            yield f"{name} sum to {cents} cents"
    spent: Counter[str] = Counter()
    for order in confirmed:
        spent[order.customer_id] += order.minor
    expected = {customer: (cents - spent[customer], 0) for customer, cents in BALANCES.items()}
    expected["merchant.USD"] = (spent.total(), 0)
    for account, (posted, held) in expected.items():
        if after.balances[account] != (posted, held):
            yield f"account {account} has {after.balances[account]} posted and held, expected {(posted, held)}"


def _stock_faults(after: Books, confirmed: Sequence[Wanted]) -> Iterator[str]:
    sold: Counter[str] = Counter()
    for order in confirmed:
        sold.update(order.quantities)
    for sku, units in STOCK.items():
        expected = (units - sold[sku], 0)
        if after.goods[sku] != expected:
            yield f"{sku} has {after.goods[sku]} on hand and reserved, expected {expected}"
