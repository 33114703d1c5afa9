"""The results of a saga's steps, and how a saga is decided.

A refusal is a result: the rule said no, and will say no again. An exception is a failure: the outcome is unknown.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic.dataclasses import dataclass

from domain.money import Money
from domain.numbers import check_seconds


class Reason(StrEnum):
    """Why an order or a transfer was not confirmed. Stable codes: clients rely on them, so none is ever renamed."""

    OUT_OF_STOCK = "out_of_stock"
    INSUFFICIENT_FUNDS = "insufficient_funds"
    UNKNOWN_CUSTOMER = "unknown_customer"
    UNKNOWN_SKU = "unknown_sku"
    CURRENCY_MISMATCH = "currency_mismatch"
    CURRENCY_WITHDRAWN = "currency_withdrawn"
    UNKNOWN_ACCOUNT = "unknown_account"
    ACCOUNT_NOT_OPEN = "account_not_open"
    AMOUNT_TOO_LARGE = "amount_too_large"
    ID_CONFLICT = "id_conflict"
    CANCELLED = "cancelled"
    # Requested within one shard, but the accounts are on two: nothing was begun.
    NOT_LOCAL = "not_local"
    # The id was taken for the same order in the other style, which carries it out: nothing was begun in this one.
    OTHER_STYLE = "other_style"
    # A participant of a two-phase commit did not vote in time.
    NO_VOTE = "no_vote"
    # The coordinator of a two-phase commit was gone before it decided, and no participant had committed.
    COORDINATOR_LOST = "coordinator_lost"
    # The step was undone before it ran: the saga was already being aborted. The row has the true reason.
    ALREADY_COMPENSATED = "already_compensated"
    # A step failed for good (a bug or damage, not a rule): the saga is aborted and the failure is in its history.
    STEP_FAILED = "step_failed"


@dataclass(frozen=True, slots=True)
class Refusal:
    """`detail` is a sentence for a person."""

    reason: Reason
    detail: str


ALREADY_COMPENSATED = Refusal(
    Reason.ALREADY_COMPENSATED, "this step was undone before it ran: the saga is being aborted"
)


class SagaOutcome(StrEnum):
    """The result of the one compare-and-set that decides a saga.

    `ABSENT`: there was no row to decide on, and now there never will be.
    """

    CONFIRMED = "confirmed"
    ABORTING = "aborting"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Decision:
    """`refusal` is the reason that won: the first decision's, not the last caller's. None if confirmed.

    `total` is the row's; None if there was no row.
    """

    outcome: SagaOutcome
    refusal: Refusal | None = None
    total: Money | None = None

    @property
    def is_confirmed(self) -> bool:
        return self.outcome is SagaOutcome.CONFIRMED


@dataclass(frozen=True, slots=True)
class SagaOptions:
    """Settings of one saga, carried in its input so that its history replays whatever the settings are later.

    `mode` "regular" runs every step as a regular activity, for tests that kill the worker at every step.
    """

    mode: Literal["local_first", "regular"] = "local_first"
    stuck_after_seconds: float = 30.0


def check_options(options: SagaOptions) -> SagaOptions:
    """`options` unchanged, or `InvalidInput` naming the field."""
    check_seconds(options.stuck_after_seconds, "options.stuck_after_seconds", above_zero=True)
    return options
