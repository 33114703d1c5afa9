"""A shop in memory behind the activities' interfaces: one small consistent world, with faults injected by step.

Each effect is one piece of synchronous code, so it happens as a whole or not at all, as a transaction does. The
barrier and the order's row follow `shards.sagas.barrier` and `shards.orders.decision`.

A step is named as its barrier is: the activity's name, and for stock the SKU range behind a slash.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from temporalio import activity

from activities.interfaces import (
    AbortOrder,
    ChoreographyActivities,
    Claimed,
    CreditMerchant,
    DecideOrder,
    OpenOrder,
    OrderActivities,
    OrderStep,
    PaymentActivities,
    PlacedOrder,
    Priced,
    RefuseOrderId,
    StepResult,
    StockActivities,
    StockShare,
    StockStep,
)
from activities.registry import names_of
from domain.choreography import Choreography, EventKind, OrderEvent
from domain.identifiers import order_saga_id
from domain.money import Money
from domain.orders import Order, OrderState, PricedLine, Style, closing_state, quantities_by_sku
from domain.sagas import ALREADY_COMPENSATED, Decision, Reason, Refusal, SagaOutcome
from domain.steps import RECORDS, Phase, Step
from tests.workflow.faults import Fault

R = TypeVar("R")


@dataclass
class Shelf:
    """The stock of one SKU."""

    sku_range: str
    price: Money
    on_hand: int
    reserved: int = 0


@dataclass
class Row:
    """An order's row. `held` is in minor units. `choreography`: None for an orchestrated one, which has no events."""

    customer_id: str
    total: Money
    held: int
    state: OrderState = OrderState.PENDING
    refusal: Refusal | None = None
    choreography: Choreography | None = None
    version: int = 0


@dataclass
class Lookup:
    content_hash: str
    style: Style
    plan: tuple[StockShare, ...]
    refusal: Refusal | None = None


@dataclass
class ShopInMemory:
    """`balances` by customer, posted and not held, in minor units. `calls`: every attempt of every step. `events`: of
    choreographed orders, in the order of their commits."""

    balances: dict[str, int]
    shelves: dict[str, Shelf]
    captured: int = 0
    credited: int = 0
    rows: dict[str, Row] = field(default_factory=dict)
    lookups: dict[str, Lookup] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    events: list[OrderEvent] = field(default_factory=list)
    _barrier: dict[tuple[str, str, str], Any] = field(default_factory=dict)
    _faults: defaultdict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))

    def __post_init__(self) -> None:
        self._opening_money = sum(self.balances.values())
        self._opening_stock = {sku: shelf.on_hand for sku, shelf in self.shelves.items()}

    def inject(self, step: str, *faults: Fault) -> None:
        """One fault for each of the step's next attempts; one that `lasts` stays for all."""
        self._faults[step].extend(faults)

    def undone(self) -> list[str]:
        """The compensations that ran, each once, in the order of their first attempt."""
        undo = {step for step in Step if step.phase is Phase.COMPENSATION and not step.declared.is_record}
        return list(dict.fromkeys(call for call in self.calls if call.partition("/")[0] in undo))

    def assert_whole(self) -> None:
        """Nothing is half done: every order is final, and every cent and every unit is accounted for."""
        assert all(row.state.is_final for row in self.rows.values()), self.rows
        assert all(row.held == 0 for row in self.rows.values()), self.rows
        assert self.captured == self.credited
        assert sum(self.balances.values()) + self.credited == self._opening_money
        confirmed = [order for order, row in self.rows.items() if row.state is OrderState.CONFIRMED]
        sold: dict[str, int] = defaultdict(int)
        for order in confirmed:
            for share in self.lookups[order].plan:
                for sku, quantity in share.quantities.items():
                    sold[sku] += quantity
        for sku, shelf in self.shelves.items():
            assert shelf.reserved == 0, (sku, shelf)
            assert shelf.on_hand == self._opening_stock[sku] - sold[sku], (sku, shelf)
        assert self.credited == sum(self.rows[order].total.minor for order in confirmed)

    async def attempt(self, step: str, effect: Callable[[], R]) -> R:
        self.calls.append(step)
        faults = self._faults[step]
        if not faults:
            return effect()
        fault = faults[0] if faults[0].lasts else faults.popleft()
        return await fault.around(effect)

    def do_once(self, saga_id: str, step: str, effect: Callable[[], Refusal | None]) -> Refusal | None:
        if (saga_id, step, "undo") in self._barrier:
            return ALREADY_COMPENSATED
        key = (saga_id, step, "do")
        if key not in self._barrier:
            self._barrier[key] = effect()
        stored: Refusal | None = self._barrier[key]
        return stored

    def undo_once(self, saga_id: str, step: str, compensation: Callable[[], None]) -> None:
        first = (saga_id, step, "undo") not in self._barrier
        was_done = (saga_id, step, "do") in self._barrier
        self._barrier[saga_id, step, "undo"] = None
        if first and was_done:
            compensation()

    def append_event(self, order_id: str, kind: EventKind, refusal: Refusal | None = None) -> None:
        """Appends the next event of the order, if it is choreographed."""
        row = self.rows[order_id]
        if row.choreography is None:
            return
        row.version += 1
        row.choreography = replace(row.choreography, refusal=refusal or row.choreography.refusal)
        self.events.append(OrderEvent(order_id, row.version, kind, row.choreography))

    def forget(self, order_id: str) -> None:
        """As if the customer's shard were restored to before the order: its claim and its goods are on others."""
        row, saga_id = self.rows.pop(order_id), order_saga_id(order_id)
        self.balances[row.customer_id] += row.held
        for key in [key for key in self._barrier if key[0] == saga_id and not key[1].startswith("reserve_stock/")]:
            del self._barrier[key]

    def did(self, saga_id: str, step: str) -> bool:
        """Whether the step was done, and not refused."""
        key = (saga_id, step, "do")
        return key in self._barrier and self._barrier[key] is None


Shops = Mapping[str, ShopInMemory]
"""By saga id: tests share workers, not shops."""


class FakeOrders(OrderActivities):
    def __init__(self, shops: Shops) -> None:
        self._shops = shops

    @activity.defn
    async def claim_order_id(self, order: Order) -> Claimed:
        shop = self._shops[order_saga_id(order.order_id)]

        def claim() -> Claimed:
            new = Lookup(order.content_hash, order.style, plan(shop, order))
            lookup = shop.lookups.setdefault(order.order_id, new)
            if lookup.content_hash != order.content_hash:
                return Claimed(Refusal(Reason.ID_CONFLICT, "the id names another order"))
            if lookup.style is not order.style:
                return Claimed(Refusal(Reason.OTHER_STYLE, f"the order is {lookup.style}"))
            return Claimed(None, lookup.plan)

        return await shop.attempt("claim_order_id", claim)

    @activity.defn
    async def price_lines(self, order: Order) -> Priced:
        shop = self._shops[order_saga_id(order.order_id)]

        def price() -> Priced:
            for line in order.lines:
                if line.sku not in shop.shelves:
                    return Priced(Refusal(Reason.UNKNOWN_SKU, f"there is no product {line.sku}"))
            prices = {sku: shelf.price for sku, shelf in shop.shelves.items()}
            return Priced(
                None, tuple(PricedLine(x.sku, x.quantity, x.unit_price or prices[x.sku]) for x in order.lines)
            )

        return await shop.attempt("price_lines", price)

    @activity.defn
    async def open_order(self, request: OpenOrder) -> StepResult:
        order = request.order
        saga_id = order_saga_id(order.order_id)
        shop = self._shops[saga_id]

        def open_row() -> Refusal | None:
            if order.customer_id not in shop.balances:
                return Refusal(Reason.UNKNOWN_CUSTOMER, f"there is no customer {order.customer_id}")
            row = shop.rows[order.order_id] = Row(order.customer_id, request.total, held=0)
            if shop.balances[order.customer_id] < request.total.minor:
                return Refusal(Reason.INSUFFICIENT_FUNDS, "not enough money")
            shop.balances[order.customer_id] -= request.total.minor
            row.held = request.total.minor
            return None

        return StepResult(await shop.attempt("open_order", lambda: shop.do_once(saga_id, "open_order", open_row)))

    @activity.defn
    async def decide_order(self, request: DecideOrder) -> Decision:
        shop = self._shops[order_saga_id(request.order_id)]
        return await shop.attempt("decide_order", lambda: decide(shop, request))

    @activity.defn
    async def abort_order(self, request: AbortOrder) -> None:
        saga_id = order_saga_id(request.order_id)
        shop = self._shops[saga_id]

        def close() -> None:
            row = shop.rows.get(request.order_id)
            if row is None:
                return
            assert row.state is OrderState.ABORTING, row
            row.state = closing_state(request.refusal.reason)
            shop.balances[row.customer_id] += row.held
            row.held = 0
            cancelled = row.state is OrderState.CANCELLED
            shop.append_event(request.order_id, EventKind.ORDER_CANCELLED if cancelled else EventKind.ORDER_REJECTED)

        def undo() -> None:
            shop.undo_once(saga_id, "open_order", close)
            for step in RECORDS:
                shop.undo_once(saga_id, step, lambda: None)

        await shop.attempt("abort_order", undo)

    @activity.defn
    async def refuse_order_id(self, request: RefuseOrderId) -> None:
        shop = self._shops[order_saga_id(request.order.order_id)]

        def refuse() -> None:
            lookup = shop.lookups[request.order.order_id]
            lookup.refusal = lookup.refusal or request.refusal

        await shop.attempt("refuse_order_id", refuse)


def plan(shop: ShopInMemory, order: Order) -> tuple[StockShare, ...]:
    shares: dict[str, StockShare] = {}
    for sku, quantity in quantities_by_sku(order.lines).items():
        sku_range = shop.shelves[sku].sku_range if sku in shop.shelves else "a"
        shares.setdefault(sku_range, StockShare(sku_range, f"shard-{sku_range}", {})).quantities[sku] = quantity
    return tuple(shares.values())


def decide(shop: ShopInMemory, request: DecideOrder) -> Decision:
    """The compare-and-set: the first call wins, whoever makes it."""
    row = shop.rows.get(request.order_id)
    if row is None:
        shop.undo_once(order_saga_id(request.order_id), "open_order", lambda: None)
        return Decision(SagaOutcome.ABSENT, request.refusal or ALREADY_COMPENSATED)
    if row.state is OrderState.PENDING:
        if request.refusal is None:
            row.state, row.held = OrderState.CONFIRMED, 0
            shop.captured += row.total.minor
            shop.append_event(request.order_id, EventKind.ORDER_CONFIRMED)
        else:
            row.state, row.refusal = OrderState.ABORTING, request.refusal
            shop.append_event(request.order_id, EventKind.ORDER_ABORTING, request.refusal)
    if row.state is OrderState.CONFIRMED:
        return Decision(SagaOutcome.CONFIRMED, None, row.total)
    return Decision(SagaOutcome.ABORTING, row.refusal, row.total)


class FakeStock(StockActivities):
    def __init__(self, shops: Shops) -> None:
        self._shops = shops

    @activity.defn
    async def reserve_stock(self, request: StockStep) -> StepResult:
        shop, step = self._shops[request.saga_id], f"reserve_stock/{request.share.sku_range}"

        def reserve() -> Refusal | None:
            for sku, quantity in request.share.quantities.items():
                shelf = shop.shelves.get(sku)
                if shelf is None:
                    return Refusal(Reason.UNKNOWN_SKU, f"there is no product {sku}")
                if shelf.on_hand - shelf.reserved < quantity:
                    return Refusal(Reason.OUT_OF_STOCK, f"not enough of {sku} on the shelf")
            move(shop, request, reserved=1)
            return None

        return StepResult(await shop.attempt(step, lambda: shop.do_once(request.saga_id, step, reserve)))

    @activity.defn
    async def release_stock(self, request: StockStep) -> None:
        shop, sku_range = self._shops[request.saga_id], request.share.sku_range
        reserve_step = f"reserve_stock/{sku_range}"

        def release() -> None:
            if shop.did(request.saga_id, reserve_step):
                move(shop, request, reserved=-1)

        await shop.attempt(f"release_stock/{sku_range}", lambda: shop.undo_once(request.saga_id, reserve_step, release))

    @activity.defn
    async def consume_stock(self, request: StockStep) -> None:
        shop, step = self._shops[request.saga_id], f"consume_stock/{request.share.sku_range}"

        def consume() -> None:
            move(shop, request, reserved=-1, on_hand=-1)

        await shop.attempt(step, lambda: shop.do_once(request.saga_id, step, consume))


def move(shop: ShopInMemory, request: StockStep, reserved: int, on_hand: int = 0) -> None:
    for sku, quantity in request.share.quantities.items():
        shop.shelves[sku].reserved += reserved * quantity
        shop.shelves[sku].on_hand += on_hand * quantity


class FakePayments(PaymentActivities):
    def __init__(self, shops: Shops) -> None:
        self._shops = shops

    @activity.defn
    async def credit_merchant(self, request: CreditMerchant) -> None:
        shop = self._shops[request.saga_id]

        def credit() -> None:
            shop.credited += request.amount.minor

        await shop.attempt("credit_merchant", lambda: shop.do_once(request.saga_id, "credit_merchant", credit))


class FakeChoreography(ChoreographyActivities):
    def __init__(self, shops: Shops) -> None:
        self._shops = shops

    @activity.defn
    async def place_order(self, request: PlacedOrder) -> StepResult:
        order, choreography = request.order, request.choreography
        saga_id = order_saga_id(order.order_id)
        shop = self._shops[saga_id]

        def place() -> Refusal | None:
            if order.customer_id not in shop.balances:
                return Refusal(Reason.UNKNOWN_CUSTOMER, f"there is no customer {order.customer_id}")
            shop.rows[order.order_id] = Row(order.customer_id, choreography.total, held=0, choreography=choreography)
            shop.append_event(order.order_id, EventKind.ORDER_PLACED)
            return None

        return StepResult(await shop.attempt("place_order", lambda: shop.do_once(saga_id, "open_order", place)))

    @activity.defn
    async def join_stock(self, request: OrderStep) -> StepResult:
        def join(shop: ShopInMemory, row: Row) -> Refusal | None:
            if row.state is not OrderState.PENDING:
                return ALREADY_COMPENSATED
            kind = EventKind.STOCK_REFUSED if request.refusal else EventKind.STOCK_RESERVED
            shop.append_event(request.order_id, kind, request.refusal)
            return request.refusal

        return await self._once("join_stock", request, join)

    @activity.defn
    async def hold_payment(self, request: OrderStep) -> StepResult:
        def hold(shop: ShopInMemory, row: Row) -> Refusal | None:
            if row.state is not OrderState.PENDING:
                return ALREADY_COMPENSATED
            refusal = request.refusal
            if refusal is None and shop.balances[row.customer_id] < row.total.minor:
                refusal = Refusal(Reason.INSUFFICIENT_FUNDS, "not enough money")
            if refusal is None:
                shop.balances[row.customer_id] -= row.total.minor
                row.held = row.total.minor
            shop.append_event(
                request.order_id, EventKind.PAYMENT_REFUSED if refusal else EventKind.PAYMENT_HELD, refusal
            )
            return refusal

        return await self._once("hold_payment", request, hold)

    @activity.defn
    async def join_release(self, request: OrderStep) -> None:
        def join(shop: ShopInMemory, row: Row) -> Refusal | None:
            if row.state is not OrderState.ABORTING:
                return ALREADY_COMPENSATED
            shop.append_event(request.order_id, EventKind.STOCK_RELEASED)
            return None

        await self._once("join_release", request, join)

    async def _once(
        self, step: str, request: OrderStep, effect: Callable[[ShopInMemory, Row], Refusal | None]
    ) -> StepResult:
        saga_id = order_saga_id(request.order_id)
        shop = self._shops[saga_id]

        def run() -> Refusal | None:
            return shop.do_once(saga_id, step, lambda: effect(shop, shop.rows[request.order_id]))

        return StepResult(await shop.attempt(step, run))


def activities_of(shops: Shops) -> Sequence[Callable[..., Any]]:
    """Every activity of the four interfaces: a fake that lacks one cannot be made."""
    fakes = (FakeOrders(shops), FakeStock(shops), FakePayments(shops), FakeChoreography(shops))
    return [getattr(fake, name) for fake in fakes for name in names_of(type(fake).__base__)]
