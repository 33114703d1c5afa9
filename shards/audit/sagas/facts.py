"""What the shards know of one saga: plain facts, with the shard that holds each."""

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
    """`total` in minor units. `lines`: what is wanted of each SKU, sorted by SKU. `event`: the newest one of a
    choreographed order; `unread`: one of its events is still to be read by what starts the reactors."""

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
    """`amount` in minor units. `batch_id` of one that was decided by a batch."""

    shard: str
    source: str
    target: str
    protocol: str
    batch_id: str | None
    state: str
    currency: str
    amount: int


class AdmissionFact(NamedTuple):
    """`amount` in minor units. `batch_id` of one that a batch asked for, before it took the transfer's id."""

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
    """Everything the shards know of one saga. Empty where none knows it."""

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
        """None where the saga is not an order's."""
        return self.saga_id.removeprefix(ORDER_PREFIX) if self.saga_id.startswith(ORDER_PREFIX) else None

    @property
    def is_transfer(self) -> bool:
        return self.saga_id.startswith(TRANSFER_PREFIX)

    @property
    def workflow_ids(self) -> tuple[str, ...]:
        """Whose work it is: any of these. A saga's own workflow, the batch that its transfer is of, or the reactors to
        a choreographed order's newest event. Of an order without a row it is not known how it is carried out.
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
        """Whether somebody will still be told of it, and then start to work on it."""
        return any(order.unread for order in self.orders)

    @property
    def batch_id(self) -> str | None:
        """Of the batch whose work it is."""
        rows: Sequence[TransferFact | AdmissionFact] = self.transfers or self.admissions
        return next((each.batch_id for each in rows if each.batch_id is not None), None)

    @property
    def is_known(self) -> bool:
        """Whether the row is there that every saga of its kind begins with."""
        return bool(self.transfers if self.is_transfer else self.lookups)

    @property
    def is_empty(self) -> bool:
        """Whether no shard knows anything of it."""
        parts = (self.lookups, self.orders, self.transfers, self.admissions, self.legs, self.reservations, self.steps)
        return not any(parts)

    def add(self, shard: str, facts: Sequence[Mapping[str, Any]]) -> None:
        """Facts of one shard, as the query answers them; sorted, so that equal sagas compare equal."""
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
