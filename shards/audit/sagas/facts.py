"""The facts that the shards hold of one saga, each with its shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from domain.choreography import placement_id, reactor_ids
from domain.identifiers import order_saga_id
from domain.transfer_batch import batch_workflow_id

ORDER_PREFIX = order_saga_id("")
TRANSFER_PREFIX = "transfer/"


class LookupFact(NamedTuple):
    shard: str
    customer_id: str
    content_hash: str
    refused: str | None


class OrderFact(NamedTuple):
    """`total` in minor units. `lines`: the wanted quantity of each SKU, sorted by SKU. `event`: the newest event of a
    choreographed order; `unread`: the consumer that starts reactors has not read one of its events yet."""

    shard: str
    customer_id: str
    content_hash: str
    state: str
    reason: str | None
    currency: str
    total: int
    lines: tuple[tuple[str, int], ...]
    version: int = 1
    event: str | None = None
    unread: bool = False


class TransferFact(NamedTuple):
    """`amount` in minor units. `batch_id` is set if a batch decided it."""

    shard: str
    source: str
    target: str
    protocol: str
    batch_id: str | None
    state: str
    currency: str
    amount: int


class AdmissionFact(NamedTuple):
    """`amount` in minor units. `batch_id` is set if a batch admitted it, which it does before it takes the transfer's
    id."""

    shard: str
    account_id: str
    batch_id: str | None
    state: str
    currency: str
    amount: int


class LegFact(NamedTuple):
    """`amount` in minor units."""

    shard: str
    role: str
    currency: str
    amount: int


class ReservationFact(NamedTuple):
    shard: str
    sku: str
    quantity: int
    state: str


class StepFact(NamedTuple):
    """A barrier row. `refused`: its stored result is a refusal, so it had no effect."""

    shard: str
    step: str
    op: str
    refused: bool


@dataclass(slots=True)
class SagaFacts:
    """All facts of one saga. Empty if no shard has any."""

    saga_id: str
    lookups: list[LookupFact] = field(default_factory=list)
    orders: list[OrderFact] = field(default_factory=list)
    transfers: list[TransferFact] = field(default_factory=list)
    admissions: list[AdmissionFact] = field(default_factory=list)
    legs: list[LegFact] = field(default_factory=list)
    reservations: list[ReservationFact] = field(default_factory=list)
    steps: list[StepFact] = field(default_factory=list)

    @property
    def order_id(self) -> str | None:
        """None if the saga is not an order's."""
        return self.saga_id.removeprefix(ORDER_PREFIX) if self.saga_id.startswith(ORDER_PREFIX) else None

    @property
    def is_transfer(self) -> bool:
        return self.saga_id.startswith(TRANSFER_PREFIX)

    @property
    def workflow_ids(self) -> tuple[str, ...]:
        """The workflows that may work on the saga: its own, the batch of its transfer, or the reactors to a
        choreographed order's newest event. The style of an order without a row is not known, so both are listed.
        """
        if self.batch_id is not None:
            return (batch_workflow_id(self.batch_id),)
        if self.order_id is None:
            return (self.saga_id,)
        if not self.orders:
            return (self.saga_id, placement_id(self.order_id))
        order = self.orders[0]
        return (self.saga_id,) if order.event is None else reactor_ids(order.event, self.order_id, order.version)

    @property
    def is_unread(self) -> bool:
        """Whether an event of it is still unread, so that reactors will be started."""
        return any(order.unread for order in self.orders)

    @property
    def batch_id(self) -> str | None:
        """The batch that the transfer belongs to."""
        rows: Sequence[TransferFact | AdmissionFact] = self.transfers or self.admissions
        return next((each.batch_id for each in rows if each.batch_id is not None), None)

    @property
    def is_known(self) -> bool:
        """Whether the row exists that every saga of its kind begins with."""
        return bool(self.transfers if self.is_transfer else self.lookups)

    @property
    def is_empty(self) -> bool:
        """Whether no shard has any fact of it."""
        parts = (self.lookups, self.orders, self.transfers, self.admissions, self.legs, self.reservations, self.steps)
        return not any(parts)

    def add(self, shard: str, facts: Sequence[Mapping[str, Any]]) -> None:
        """Adds one shard's facts, as the query returns them; sorted, so that equal facts compare equal."""
        for fact in facts:
            match fact["kind"]:
                case "lookup":
                    known = LookupFact(shard, fact["customer_id"], fact["content_hash"], fact["refused"])
                    self.lookups.append(known)
                case "order":
                    self.orders.append(_order(shard, fact))
                case "transfer":
                    self.transfers.append(_fact(TransferFact, shard, fact))
                case "admission":
                    self.admissions.append(_fact(AdmissionFact, shard, fact))
                case "leg":
                    self.legs.append(LegFact(shard, fact["role"], fact["currency"], fact["amount"]))
                case "reservation":
                    reserved = ReservationFact(shard, fact["sku"], fact["quantity"], fact["state"])
                    self.reservations.append(reserved)
                case "step":
                    self.steps.append(StepFact(shard, fact["step"], fact["op"], fact["refused"]))
        self.legs.sort()
        self.reservations.sort()
        self.steps.sort()


F = TypeVar("F", TransferFact, AdmissionFact)


def _fact(kind: type[F], shard: str, fact: Mapping[str, Any]) -> F:
    return kind(shard=shard, **{name: fact[name] for name in kind._fields if name != "shard"})


def _order(shard: str, fact: Mapping[str, Any]) -> OrderFact:
    return OrderFact(
        shard,
        fact["customer_id"],
        fact["content_hash"],
        fact["state"],
        fact["reason"],
        fact["currency"],
        fact["total"],
        tuple(sorted((fact["lines"] or {}).items())),
        fact["version"],
        fact["event"],
        fact["unread"],
    )
