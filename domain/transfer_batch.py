"""A batch of transfers: many lines of one file, each with an outcome of its own.

The lines of one source account are decided in the order of the file, against the account's balance at the start. A
line that does not fit is passed over, and a smaller one after it may fit. Credits from this batch can be spent only in
its second round, which decides the lines for which the money did not suffice in the first; credits made in the second
round cannot be spent in this batch. So each outcome depends on the file and on the accounts as they were, and not on
which shard was quicker or what was killed when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from domain.accounts import insufficient_funds
from domain.money import Money
from domain.sagas import Refusal

BATCH_PREFIX = "transfer-batch/"


class Round(IntEnum):
    """The second is for the lines that the first postponed, begins when the first has credited everything, and is the
    last."""

    FIRST = 1
    SECOND = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One transfer of a file; `n` is its line there."""

    n: int
    transfer_id: str
    source: str
    target: str
    currency: str
    amount: int


@dataclass(frozen=True, slots=True)
class Decided:
    """`refusal` None: confirmed."""

    line: Line
    refusal: Refusal | None


@dataclass(frozen=True, slots=True)
class Decisions:
    """Lines in the order of the file, each in one of the two lists. `postponed`: the money did not suffice yet."""

    decided: list[Decided]
    postponed: list[Line]


def batch_workflow_id(batch_id: str) -> str:
    """Names the workflow of a batch, and in events the batch itself."""
    return f"{BATCH_PREFIX}{batch_id}"


def decide(
    lines: Iterable[Line], spendable: Mapping[str, int], refused: Mapping[int, Refusal], round_: Round
) -> Decisions:
    """Decides `lines`, which are in the order of the file.

    `spendable`: by source account, the minor units that count in this round. `refused`: by line number, the lines that
    a rule refuses whatever the money; they take none. Every source that is not refused must be in `spendable`.
    """
    left = dict(spendable)
    decided: list[Decided] = []
    postponed: list[Line] = []
    for line in lines:
        refusal = refused.get(line.n)
        if refusal is None:
            available = left[line.source]
            if line.amount <= available:
                left[line.source] = available - line.amount
            elif round_ is Round.FIRST:
                postponed.append(line)
                continue
            else:
                left_over = Money(max(available, 0), line.currency)
                refusal = insufficient_funds(line.source, left_over, Money(line.amount, line.currency))
        decided.append(Decided(line, refusal))
    return Decisions(decided, postponed)
