"""The report of `verify`, as commands, programs and `--json` show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domain.documents import Document
from shards.audit.audit import Audit
from shards.audit.findings import Check, Violation
from shards.audit.local.rules import amount_text

__all__ = [
    "Check",
    "CheckedDocument",
    "InFlightNow",
    "MoneyInFlightNow",
    "ReadModelNow",
    "VerifyReport",
    "Violation",
    "report_of",
]


class MoneyInFlightNow(Document):
    """Money of one currency in flight: the number of payments, and the amount as a decimal string."""

    count: int
    amount: str


class InFlightNow(Document):
    """Sagas that workflows still work on."""

    orders: int
    transfers: int
    money: Mapping[str, MoneyInFlightNow]
    prepared_transactions: int


class ReadModelNow(Document):
    """`rows_in_flight` could not be judged yet; from the shards `not_begun` the read model has taken nothing yet."""

    rows_in_flight: int
    not_begun: list[str]


class CheckedDocument(Document):
    """`violations` holds the first ones, `violation_count` counts all."""

    name: Check
    ok: bool
    checked: int
    violation_count: int
    violations: list[Violation]


class VerifyReport(Document):
    """`expired`: how many sagas have a workflow that Temporal deleted after its retention."""

    ok: bool
    in_flight: InFlightNow
    expired: int
    read_model: ReadModelNow
    checks: list[CheckedDocument]

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return self.model_dump(mode="json")


def report_of(audit: Audit) -> VerifyReport:
    """The report of an audit that has run."""
    money = {
        currency: MoneyInFlightNow(count=each.count, amount=amount_text(each.minor, currency))
        for currency, each in sorted(audit.in_flight.money.items())
    }
    return VerifyReport(
        ok=audit.findings.ok,
        in_flight=InFlightNow(
            orders=audit.in_flight.orders,
            transfers=audit.in_flight.transfers,
            money=money,
            prepared_transactions=audit.in_flight.prepared_transactions,
        ),
        expired=audit.expired,
        read_model=ReadModelNow(
            rows_in_flight=sum(each.moving for each in audit.projected.values()),
            not_begun=[shard for shard, each in audit.projected.items() if not each.has_begun],
        ),
        checks=[
            CheckedDocument(
                name=check,
                ok=finding.violation_count == 0,
                checked=finding.checked,
                violation_count=finding.violation_count,
                violations=finding.violations,
            )
            for check, finding in audit.findings.by_check.items()
        ],
    )
