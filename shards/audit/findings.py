"""The result of an audit: for each check, how many rows were checked, and every violation with its row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

# Enough to see a pattern; all are counted.
VIOLATIONS_SHOWN_MAX = 100


class Check(StrEnum):
    """Stable names: programs rely on them."""

    LEDGER = "ledger"
    HOLDS = "holds"
    CLEARING = "clearing"
    STOCK = "stock"
    ORDERS = "orders"
    TRANSFERS = "transfers"
    ORPHANS = "orphans"
    COMMENTS = "comments"
    PLACEMENT = "placement"
    PREPARED_TRANSACTIONS = "prepared_transactions"
    READ_MODEL = "read_model"


@dataclass(frozen=True, slots=True)
class Violation:
    """`what` is a sentence; `row` holds the columns that identify the damage. `shard` is None if no shard holds it."""

    what: str
    shard: str | None
    row: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Fault:
    """A violation by one saga. `while_open`: this is normal while a workflow works on the saga, and damage once none
    does.

    Any other fault is damage in every consistent cut.
    """

    check: Check
    while_open: bool
    violation: Violation


@dataclass(slots=True)
class Finding:
    """One check's result so far. `checked` counts rows of whatever kind the check is about."""

    checked: int = 0
    violation_count: int = 0
    violations: list[Violation] = field(default_factory=list)


class Findings:
    """The results of all checks. Only the first violations of a check are kept; all are counted."""

    def __init__(self) -> None:
        self.by_check = {check: Finding() for check in Check}

    @property
    def ok(self) -> bool:
        return all(finding.violation_count == 0 for finding in self.by_check.values())

    def add_checked(self, check: Check, rows: int) -> None:
        self.by_check[check].checked += rows

    def add_violations(self, check: Check, violations: Iterable[Violation], not_shown: int = 0) -> None:
        """`not_shown`: how many more there are than given."""
        finding = self.by_check[check]
        finding.violation_count += not_shown
        for violation in violations:
            finding.violation_count += 1
            if len(finding.violations) < VIOLATIONS_SHOWN_MAX:
                finding.violations.append(violation)
