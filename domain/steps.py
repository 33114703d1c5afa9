"""The steps of orders and transfers, each declared once.

A step is one transaction on one shard. Its name is that of its activity and of its barrier row. Its activity's id names
the step within the saga, which is how a history and the shards' rows are joined:

    reserve_stock/m           the step, behind a slash the SKU range or the participant where there are several
    reserve_stock/m/undo      its compensation, whatever the activity is called
    reserve_stock/m#2         a fresh attempt, beside one that the server still holds open

Names of steps, and with them the barrier's, are never changed: under another name an effect would happen twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from string import Formatter
from typing import Self

from domain.orders import Style

UNDO = "undo"


class Phase(StrEnum):
    """`COMPLETION` and `COMPENSATION` follow from the decision: only one of them is ever run."""

    FORWARD = "forward"
    DECISION = "decision"
    COMPLETION = "completion"
    COMPENSATION = "compensation"


class ShardKey(StrEnum):
    """Whose shard a step's transaction is on."""

    ORDER_ID = "hash of the order id"
    SKUS = "the SKUs'"
    CUSTOMER = "the customer's"
    SKU_RANGE = "one per SKU range"
    MERCHANT = "the merchant's"
    SOURCE = "the source's"
    TARGET = "the target's"
    PARTICIPANT = "both participants'"


class Parts(StrEnum):
    """What a step has several parts by: the same step runs once for each."""

    SKU_RANGES = "range"
    PARTICIPANTS = "participant"


@dataclass(frozen=True, slots=True)
class Declared:
    """`verb` and `about` make the summary that a person reads; `fallback` replaces `about` if its facts are not known.

    `undone_by`: the step that compensates it. `barrier`: the step whose barrier row it shares, if not its
    own. `style`: the only one that has it, None: both. `has_effect`: False for one that only reads, so there is nothing
    to undo. `is_record`: its effect is what it recorded on the order's row, so that closing the row undoes it.
    `summary_has_reason`: its summary ends with the reason of the saga's decision.
    """

    name: str
    phase: Phase
    shard: ShardKey
    verb: str
    about: str = ""
    fallback: str = ""
    undone_by: str | None = None
    parts: Parts | None = None
    barrier: str | None = None
    style: Style | None = None
    has_effect: bool = True
    is_record: bool = False
    summary_has_reason: bool = False


class Step(StrEnum):
    """In the order in which a saga runs them."""

    def __new__(cls, declared: Declared) -> Self:
        step = str.__new__(cls, declared.name)
        step._value_ = declared.name
        step._declared = declared
        return step

    _declared: Declared

    # ── orders ──────────────────────────────────────────────────────────────────────────────────────────────

    CLAIM_ORDER_ID = Declared(
        "claim_order_id", Phase.FORWARD, ShardKey.ORDER_ID, "claim", "order id {order_id}", "the order id"
    )
    PRICE_LINES = Declared(
        "price_lines", Phase.FORWARD, ShardKey.SKUS, "look up", fallback="the catalogue's prices", has_effect=False
    )
    OPEN_ORDER = Declared(
        "open_order",
        Phase.FORWARD,
        ShardKey.CUSTOMER,
        "open the order and hold",
        "{total} on account {customer_id}",
        "the payment",
        undone_by="abort_order",
        style=Style.ORCHESTRATED,
    )
    PLACE_ORDER = Declared(
        "place_order",
        Phase.FORWARD,
        ShardKey.CUSTOMER,
        "place",
        "the order over {total}",
        "the order",
        undone_by="abort_order",
        barrier="open_order",
        style=Style.CHOREOGRAPHED,
    )
    RESERVE_STOCK = Declared(
        "reserve_stock",
        Phase.FORWARD,
        ShardKey.SKU_RANGE,
        "reserve",
        "{goods}",
        "the stock of one range",
        undone_by="release_stock",
        parts=Parts.SKU_RANGES,
    )
    JOIN_STOCK = Declared(
        "join_stock",
        Phase.FORWARD,
        ShardKey.CUSTOMER,
        "note",
        fallback="what all stock shards answered",
        undone_by="abort_order",
        style=Style.CHOREOGRAPHED,
        is_record=True,
    )
    HOLD_PAYMENT = Declared(
        "hold_payment",
        Phase.FORWARD,
        ShardKey.CUSTOMER,
        "hold",
        "{total} on account {customer_id}",
        "the payment",
        undone_by="abort_order",
        style=Style.CHOREOGRAPHED,
        is_record=True,
    )
    DECIDE_ORDER = Declared("decide_order", Phase.DECISION, ShardKey.CUSTOMER, "decide", summary_has_reason=True)
    CONSUME_STOCK = Declared(
        "consume_stock",
        Phase.COMPLETION,
        ShardKey.SKU_RANGE,
        "consume",
        "{goods}",
        "the stock of one range",
        parts=Parts.SKU_RANGES,
    )
    CREDIT_MERCHANT = Declared(
        "credit_merchant", Phase.COMPLETION, ShardKey.MERCHANT, "credit", "the merchant with {total}", "the merchant"
    )
    RELEASE_STOCK = Declared(
        "release_stock",
        Phase.COMPENSATION,
        ShardKey.SKU_RANGE,
        "release",
        "{goods}",
        "the stock of one range",
        parts=Parts.SKU_RANGES,
    )
    JOIN_RELEASE = Declared(
        "join_release",
        Phase.COMPENSATION,
        ShardKey.CUSTOMER,
        "note",
        fallback="that all stock is released",
        style=Style.CHOREOGRAPHED,
        is_record=True,
    )
    ABORT_ORDER = Declared(
        "abort_order",
        Phase.COMPENSATION,
        ShardKey.CUSTOMER,
        "release the held payment and close",
        fallback="the order",
        summary_has_reason=True,
    )
    REFUSE_ORDER_ID = Declared(
        "refuse_order_id",
        Phase.COMPENSATION,
        ShardKey.ORDER_ID,
        "keep",
        fallback="the reason beside the order id",
        summary_has_reason=True,
    )

    # ── transfers ───────────────────────────────────────────────────────────────────────────────────────────

    OPEN_TRANSFER = Declared(
        "open_transfer",
        Phase.FORWARD,
        ShardKey.SOURCE,
        "open",
        "the transfer of {amount} from account {source}",
        "the transfer",
    )
    ADMIT_TRANSFER = Declared(
        "admit_transfer",
        Phase.FORWARD,
        ShardKey.TARGET,
        "admit",
        "{amount} for account {target}",
        "the transfer",
        undone_by="withdraw_admission",
    )
    DECIDE_TRANSFER = Declared("decide_transfer", Phase.DECISION, ShardKey.SOURCE, "decide", summary_has_reason=True)
    CREDIT_TRANSFER = Declared(
        "credit_transfer",
        Phase.COMPLETION,
        ShardKey.TARGET,
        "credit",
        "{target} with {amount} on {shard}",
        "the target",
    )
    WITHDRAW_ADMISSION = Declared(
        "withdraw_admission",
        Phase.COMPENSATION,
        ShardKey.TARGET,
        "withdraw",
        "the admission on {shard}",
        "the admission",
    )
    PREPARE_PARTICIPANT = Declared(
        "prepare_participant",
        Phase.FORWARD,
        ShardKey.PARTICIPANT,
        "prepare",
        "the {participant} {account} on {shard}",
        "a participant",
        undone_by="abort_participant",
        parts=Parts.PARTICIPANTS,
    )
    COMMIT_PARTICIPANT = Declared(
        "commit_participant",
        Phase.DECISION,
        ShardKey.PARTICIPANT,
        "commit",
        "the {participant} {account} on {shard}",
        "a participant",
        parts=Parts.PARTICIPANTS,
    )
    ABORT_PARTICIPANT = Declared(
        "abort_participant",
        Phase.COMPENSATION,
        ShardKey.PARTICIPANT,
        "abort",
        "the {participant} {account} on {shard}",
        "a participant",
        parts=Parts.PARTICIPANTS,
        summary_has_reason=True,
    )

    # ── properties of a step ───────────────────────────────────────────────────────────────────────────────

    @property
    def declared(self) -> Declared:
        return self._declared

    @classmethod
    def named(cls, name: str) -> Step:
        """The step with this activity's name; `KeyError` if there is none."""
        return _STEPS[name]

    @property
    def phase(self) -> Phase:
        return self.declared.phase

    @property
    def undone_by(self) -> Step | None:
        return _STEPS[self.declared.undone_by] if self.declared.undone_by is not None else None

    @property
    def barrier(self) -> Step:
        """The step whose name its barrier row has."""
        return _STEPS[self.declared.barrier] if self.declared.barrier is not None else self

    @property
    def undoes(self) -> Step | None:
        """The step that it compensates; None if it compensates none."""
        return _UNDOES.get(self)

    @property
    def facts(self) -> frozenset[str]:
        """The names of the facts that its `summary` shows."""
        return _FACTS[self]

    @property
    def is_of_orders(self) -> bool:
        return self.declared.shard not in (ShardKey.SOURCE, ShardKey.TARGET, ShardKey.PARTICIPANT)

    def is_of(self, style: Style) -> bool:
        return self.declared.style in (None, style)

    def activity_id(self, part: str | None = None, start_number: int = 1) -> str:
        """`part`: the SKU range or the participant. `start_number`: 1 for the first activity that was started for it, 2
        for the next."""
        undone = self.undoes
        name = self._of_part(undone or self, part)
        named = f"{name}/{UNDO}" if undone is not None else name
        return named if start_number == 1 else f"{named}#{start_number}"

    def barrier_step(self, part: str | None = None) -> str:
        """The name of its barrier row; a compensation's is that of the step that it undoes."""
        return self._of_part((self.undoes or self).barrier, part)

    def summary(self, because: str | None = None, **facts: object) -> str:
        """Its summary for a person, with `facts` if all of those that it shows are given."""
        declared, named = self.declared, self.facts
        is_known = bool(named) and all(facts.get(name) is not None for name in named)
        about = declared.about.format_map(facts) if is_known else declared.fallback
        sentence = f"{declared.verb} {about}".rstrip()
        return f"{sentence}: {because}" if because else sentence

    def _of_part(self, step: Step, part: str | None) -> str:
        if (part is None) is not (self.declared.parts is None):
            expected = "no part" if self.declared.parts is None else f"a {self.declared.parts}"
            raise ValueError(f"{self} has {expected}, got {part!r}")
        return str(step) if part is None else f"{step}/{part}"


_STEPS = {str(step): step for step in Step}
_FACTS = {
    step: frozenset(name for _, name, _, _ in Formatter().parse(step.declared.about) if name is not None)
    for step in Step
}
_UNDOES = {
    step.undone_by: step
    for step in Step
    if step.undone_by is not None and step.barrier is step and not step.declared.is_record
}

RECORDS = tuple(sorted(step for step in Step if step.declared.is_record))
"""What the services record on a choreographed order's row. None of them may be recorded on a closed order any more."""


def requested_decision(reason: str | None) -> str:
    """The decision that is requested for an order, as the end of its step's summary."""
    return f"abort, {reason}" if reason is not None else "confirm, capture the payment, ask for shipment"


@dataclass(frozen=True, slots=True)
class StepCall:
    """A step that a workflow calls. It is here since each sandbox builds the classes of workflow modules again."""

    step: Step
    part: str | None
    summary: str

    @classmethod
    def of(cls, activity: str, part: str | None, because: str | None, facts: dict[str, object]) -> StepCall:
        step = Step.named(activity)
        return cls(step, part, step.summary(because, **facts))
