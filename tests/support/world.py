"""Three real shards with customers and goods on them, and the product's own activities called by hand."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import text

from activities.choreography import ShardedChoreographyActivities
from activities.interfaces import (
    AbortOrder,
    CreditMerchant,
    DecideOrder,
    DecideTransfer,
    OpenedTransfer,
    OpenOrder,
    OpenTransfer,
    OrderStep,
    PlacedOrder,
    RefuseOrderId,
    StockShare,
    StockStep,
)
from activities.orders import ShardedOrderActivities
from activities.payments import ShardedPaymentActivities
from activities.stock import ShardedStockActivities
from activities.transfers import ShardedTransferActivities
from activities.two_phase import ShardedTwoPhaseActivities
from domain.catalogue import Customer, Product
from domain.choreography import Choreography, OrderEvent
from domain.identifiers import merchant_account_id, order_saga_id
from domain.money import Money
from domain.orders import Order, OrderLine, PricedLine, Style, total_of
from domain.sagas import Decision, Refusal, SagaOutcome
from domain.shard_map import Route
from domain.transfers import Protocol, ProtocolChoice, Transfer
from shards.catalogue.imports import import_customers, import_products
from shards.connections.cluster import Cluster
from shards.orders import events as order_events
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction, write_on
from stack.embedded.waiting import attempts
from tests.support.postgres import lasting_databases, owned
from workflows.orders.saga import CANCELLED

# The first product of each range: a SKU that begins with it is in the same range.
RANGES = {"a": "shard-1", "m": "shard-2", "z": "shard-3"}

_numbers = itertools.count(1)

# What must be true of a shard at every instant; each query returns the rows that break it.
INVARIANTS = {
    "a movement sums to zero": "SELECT movement_id FROM entry GROUP BY movement_id HAVING sum(amount) <> 0",
    "posted is the sum of entries": """
        SELECT id, posted FROM account WHERE posted IS NOT NULL
            AND posted <> (SELECT coalesce(sum(amount), 0) FROM entry WHERE account_id = account.id)
    """,
    "held is the sum of placed holds": """
        SELECT id, held FROM account
        WHERE held <> (SELECT coalesce(sum(amount), 0) FROM hold WHERE account_id = account.id AND state = 'placed')
    """,
    "nobody has less than nothing": "SELECT id FROM account WHERE posted - held + overdraft < 0",
    "clearing is the sum of its legs": """
        SELECT currency FROM account WHERE kind = 'clearing'
            AND (SELECT coalesce(sum(amount), 0) FROM entry WHERE account_id = account.id)
                <> (SELECT coalesce(sum(amount), 0) FROM clearing_leg AS leg WHERE leg.currency = account.currency)
    """,
    "reserved is the sum of reservations": """
        SELECT sku, reserved FROM stock WHERE reserved <>
            (SELECT coalesce(sum(quantity), 0) FROM reservation AS r WHERE r.sku = stock.sku AND state = 'reserved')
    """,
    "on hand is what came in less what left": """
        SELECT sku, on_hand FROM stock WHERE on_hand <>
            (SELECT coalesce(sum(quantity), 0) FROM stock_receipt AS s WHERE s.sku = stock.sku)
            - (SELECT coalesce(sum(quantity), 0) FROM reservation AS r WHERE r.sku = stock.sku AND state = 'consumed')
    """,
    "a confirmed order is paid": """
        SELECT id FROM orders WHERE state = 'confirmed' AND total > 0 AND NOT EXISTS
            (SELECT FROM hold WHERE saga_id = 'order/' || id AND state = 'captured' AND amount = total)
    """,
    "only a confirmed order is paid": """
        SELECT saga_id FROM hold WHERE state = 'captured' AND saga_id LIKE 'order/%'
            AND NOT EXISTS (SELECT FROM orders WHERE saga_id = 'order/' || id AND state = 'confirmed')
    """,
    "a closed order holds nothing": """
        SELECT saga_id FROM hold JOIN orders ON saga_id = 'order/' || orders.id
        WHERE hold.state = 'placed' AND orders.state IN ('rejected', 'cancelled')
    """,
    "a transfer's hold follows its decision": """
        SELECT hold.saga_id, hold.state, t.state FROM hold
        LEFT JOIN transfer AS t ON 'transfer/' || t.source || '/' || t.id = hold.saga_id
        WHERE hold.saga_id LIKE 'transfer/%' AND NOT coalesce(t.source = hold.account_id AND t.amount = hold.amount
            AND t.state = CASE hold.state
                WHEN 'placed' THEN 'pending' WHEN 'captured' THEN 'confirmed' ELSE 'declined' END, false)
    """,
    "a transfer has left its source exactly where it is confirmed": """
        SELECT t.source, t.id, t.state FROM transfer AS t WHERE (t.state = 'confirmed') <> EXISTS
            (SELECT FROM movement AS m JOIN entry ON entry.movement_id = m.id
             WHERE m.saga_id = 'transfer/' || t.source || '/' || t.id AND m.kind IN ('capture', 'debit', 'transfer')
                AND entry.account_id = t.source AND entry.amount = -t.amount)
    """,
    "a transfer has come to its target exactly where it is credited": """
        SELECT a.saga_id, a.state FROM admission AS a WHERE (a.state = 'credited') <> EXISTS
            (SELECT FROM movement AS m JOIN entry ON entry.movement_id = m.id
             WHERE m.saga_id = a.saga_id AND m.kind = 'credit'
                AND entry.account_id = a.account_id AND entry.amount = a.amount)
    """,
    "a closed account is empty, and nothing is on its way to it": """
        SELECT id FROM account WHERE state = 'closed' AND (posted <> 0 OR held <> 0 OR kind <> 'customer'
            OR EXISTS (SELECT FROM hold WHERE account_id = account.id AND hold.state = 'placed')
            OR EXISTS (SELECT FROM admission AS a WHERE a.account_id = account.id AND a.state = 'open'))
    """,
}
# One statement for all: a test that looks after each step looks often.
_BROKEN = " UNION ALL ".join(
    f"SELECT {number} AS number, CAST(to_jsonb(broken) AS text) AS row FROM ({sql}) AS broken"
    for number, sql in enumerate(INVARIANTS.values())
)


class World:
    """Each test makes customers and goods of its own, so that tests share the databases and not the rows."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.router = Router(cluster)
        self.orders = ShardedOrderActivities(self.router)
        self.stock = ShardedStockActivities(self.router)
        self.payments = ShardedPaymentActivities(self.router)
        self.choreography = ShardedChoreographyActivities(self.router)
        self.transfers = ShardedTransferActivities(self.router)
        self.two_phase = ShardedTwoPhaseActivities(self.router)

    # ── customers and goods ───────────────────────────────────────────────────────────────────────────────

    async def open_shop(self) -> None:
        """One product in each range, and the merchants of dollars and euros."""
        goods = [Product(sku, sku, Money(100, "USD"), 0) for sku in RANGES]
        await import_products(self.router, [*goods, Product("z-euro", "a", Money(100, "EUR"), 1000)])

    async def customer(self, balance: str = "100.00", currency: str = "USD", shard: str | None = None) -> str:
        name = await self.new_name(shard)
        await import_customers(self.router, [Customer(name, name, None, Money.parse(balance, currency))])
        return name

    async def new_name(self, shard: str | None = None) -> str:
        """A new customer's id that belongs on this shard."""
        shard_map = await self.router.map()
        names = (f"C{next(_numbers)}" for _ in itertools.count())
        return next(name for name in names if shard in (None, shard_map.of_customer(name).shard))

    async def product(self, near: str = "a", stock: int = 10, price: str = "1.00", currency: str = "USD") -> str:
        """A new product on the shard of `RANGES[near]`."""
        sku = f"{near}-{next(_numbers):06}"
        await import_products(self.router, [Product(sku, sku, Money.parse(price, currency), stock)])
        return sku

    def order(
        self, customer_id: str, quantities: Mapping[str, int], price: str = "1.00", currency: str = "USD"
    ) -> Order:
        agreed = Money.parse(price, currency)
        lines = tuple(OrderLine(sku, quantity, agreed) for sku, quantity in quantities.items())
        return Order(f"O{next(_numbers)}", customer_id, currency, lines)

    async def transfer(self, source: str, target: str, amount: str = "10.00", currency: str = "USD") -> TransferByHand:
        """A new transfer between these accounts, of which no step has run yet."""
        wanted = Transfer(f"T{next(_numbers)}", source, target, Money.parse(amount, currency))
        return TransferByHand(self, wanted)

    async def saga(self, order: Order) -> SagaByHand:
        claimed = await self.orders.claim_order_id(order)
        assert claimed.refusal is None
        return SagaByHand(self, order, claimed.stock)

    async def choreographed(self, order: Order) -> ChoreographyByHand:
        wanted = replace(order, style=Style.CHOREOGRAPHED)
        claimed = await self.orders.claim_order_id(wanted)
        assert claimed.refusal is None
        return ChoreographyByHand(self, wanted, claimed.stock)

    async def cancel(self, order: Order) -> Decision:
        """As the order service cancels a choreographed order."""
        decision = await self.orders.decide_order(DecideOrder(order.order_id, order.customer_id, CANCELLED))
        if decision.outcome is SagaOutcome.ABSENT and decision.refusal is not None:
            await self.orders.refuse_order_id(RefuseOrderId(order, decision.refusal))
        return decision

    # ── the shards, seen from below ─────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def transaction(self, route: Route) -> AsyncIterator[ShardTransaction]:
        async with write_on(self.cluster.shards[route.shard], route) as tx:
            yield tx

    async def customer_route(self, customer_id: str) -> Route:
        return (await self.router.map()).of_customer(customer_id)

    async def rows(self, shard: str, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        async with self.cluster.primaries[shard].transaction() as connection:
            result = await connection.execute(text(sql), parameters)
            return [tuple(row) for row in result] if result.returns_rows else []

    async def as_owner(self, shard: str, *statements: str) -> None:
        """Runs as the owner what the workers' role may not do, such as changing a table."""
        async with owned(self.cluster.primaries[shard]) as owner, owner.transaction() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)

    async def everywhere(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return [row for shard in self.cluster.primaries for row in await self.rows(shard, sql, **parameters)]

    async def money_of(self, account_id: str) -> tuple[int, int]:
        """(posted, held) in minor units."""
        found = await self.everywhere("SELECT posted, held FROM account WHERE id = :id", id=account_id)
        assert len(found) == 1
        return found[0][0], found[0][1]

    async def goods_of(self, sku: str) -> tuple[int, int]:
        """(on hand, reserved)."""
        found = await self.everywhere("SELECT on_hand, reserved FROM stock WHERE sku = :sku", sku=sku)
        assert len(found) == 1
        return found[0][0], found[0][1]

    async def state_of(self, order: Order) -> str | None:
        found = await self.everywhere("SELECT state FROM orders WHERE id = :id", id=order.order_id)
        return str(found[0][0]) if found else None

    async def until_waiting(self, shard: str, count: int = 1) -> None:
        """Returns when `count` sessions of the shard wait for another's transaction."""
        waiting = """
            SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
        """
        async for _ in attempts(2.5):
            if (await self.rows(shard, waiting))[0][0] >= count:
                return
        raise AssertionError(f"nobody waits for a lock on {shard}")

    async def violations(self) -> list[tuple[str, str, str]]:
        """(shard, invariant, row as JSON) for each that does not hold."""
        names = list(INVARIANTS)
        found = []
        for shard, database in self.cluster.primaries.items():
            async with database.snapshot() as connection:
                broken = await connection.exec_driver_sql(_BROKEN)
                found += [(shard, names[number], row) for number, row in broken]
        return found


class SagaByHand:
    """The steps of one order in the workflow's own words, one call each, in whatever order a test wants."""

    def __init__(self, world: World, order: Order, shares: tuple[StockShare, ...]) -> None:
        self.world = world
        self.order = order
        self.shares = shares
        self.saga_id = order_saga_id(order.order_id)
        self.lines = tuple(PricedLine(x.sku, x.quantity, x.unit_price) for x in order.lines if x.unit_price)
        total = total_of(self.lines, order.currency)
        assert isinstance(total, Money)
        self.total = total

    async def open(self) -> Refusal | None:
        return (await self.world.orders.open_order(OpenOrder(self.order, self.lines, self.total))).refusal

    async def reserve(self, share: int) -> Refusal | None:
        return (await self.world.stock.reserve_stock(self._stock_step(share))).refusal

    async def decide(self, refusal: Refusal | None = None) -> Decision:
        request = DecideOrder(self.order.order_id, self.order.customer_id, refusal)
        return await self.world.orders.decide_order(request)

    async def consume(self, share: int) -> None:
        await self.world.stock.consume_stock(self._stock_step(share))

    async def credit(self) -> None:
        await self.world.payments.credit_merchant(CreditMerchant(self.saga_id, self.order.customer_id, self.total))

    async def release(self, share: int) -> None:
        await self.world.stock.release_stock(self._stock_step(share))

    async def abort(self, refusal: Refusal) -> None:
        await self.world.orders.abort_order(AbortOrder(self.order.order_id, self.order.customer_id, refusal))

    async def undo_all(self, refusal: Refusal) -> None:
        """Every compensation, whether its step was reached or not."""
        for share in range(len(self.shares)):
            await self.release(share)
        await self.abort(refusal)

    @property
    def merchant(self) -> str:
        return merchant_account_id(self.order.currency)

    def _stock_step(self, share: int) -> StockStep:
        return StockStep(self.saga_id, self.order.currency, self.shares[share])


class ChoreographyByHand(SagaByHand):
    """The steps of a choreographed order, those that both styles share included."""

    async def place(self) -> Refusal | None:
        choreography = Choreography(self.order.customer_id, self.total, self.shares)
        placed = PlacedOrder(self.order, self.lines, choreography)
        return (await self.world.choreography.place_order(placed)).refusal

    async def join_stock(self, refusal: Refusal | None = None) -> Refusal | None:
        return (await self.world.choreography.join_stock(self._step(refusal))).refusal

    async def hold(self, refusal: Refusal | None = None) -> Refusal | None:
        return (await self.world.choreography.hold_payment(self._step(refusal))).refusal

    async def join_release(self) -> None:
        await self.world.choreography.join_release(self._step())

    async def newest(self) -> OrderEvent | None:
        """As the order's row knows it."""
        customer_id, order_id = self.order.customer_id, self.order.order_id
        return await self.world.router.read(
            lambda m: m.of_customer(customer_id), lambda tx: order_events.newest(tx.connection, order_id)
        )

    async def events(self) -> list[tuple[int, str]]:
        """(version, kind) of what the outbox holds of the order itself."""
        sql = """
            SELECT aggregate_version, kind FROM outbox WHERE aggregate = 'order' AND aggregate_id = :id
            ORDER BY aggregate_version
        """
        return [(row[0], row[1]) for row in await self.world.everywhere(sql, id=self.order.order_id)]

    def _step(self, refusal: Refusal | None = None) -> OrderStep:
        return OrderStep(self.order.order_id, self.order.customer_id, refusal)


class TransferByHand:
    """The steps of one transfer in the workflow's own words, one call each, in whatever order a test wants."""

    def __init__(self, world: World, transfer: Transfer) -> None:
        self.world = world
        self.transfer = transfer
        self.saga_id = transfer.saga_id

    async def open(self, protocol: ProtocolChoice = ProtocolChoice.AUTO) -> OpenedTransfer:
        return await self.world.transfers.open_transfer(OpenTransfer(self.transfer, protocol))

    async def admit(self) -> Refusal | None:
        return (await self.world.transfers.admit_transfer(self.transfer)).refusal

    async def decide(self, refusal: Refusal | None = None) -> Decision:
        return await self.world.transfers.decide_transfer(DecideTransfer(self.transfer, Protocol.SAGA, refusal))

    async def credit(self) -> None:
        await self.world.transfers.credit_transfer(self.transfer)

    async def withdraw(self) -> None:
        await self.world.transfers.withdraw_admission(self.transfer)


class RolledBack(Exception):
    """Raised in a transaction to end it without a commit."""


@asynccontextmanager
async def lasting_world(admin: str, templates: Mapping[str, str], pool_size: int = 8) -> AsyncIterator[World]:
    """A world for many tests, on databases of its own."""
    async with (
        lasting_databases(admin, templates) as made,
        Cluster(made.shards, made.catalog, made.read_model, pool_size=pool_size) as cluster,
    ):
        world = World(cluster)
        await world.open_shop()
        yield world
