"""`verify`: is every cent and every unit of stock accounted for?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from rich.console import Group, RenderableType

from cli.audit import Audit, InFlight
from cli.common import DataDir, run_async
from cli.connections import connected
from cli.output import Output, output, table
from cli.progress import counted
from cli.workflow_states import TemporalWorkflowStates
from shards.audit.findings import Findings
from shards.audit.rules import told_amount
from stack.settings import Settings, load_settings

VIOLATIONS_TOLD_MAX = 20


def register(app: typer.Typer) -> None:
    app.command()(verify)


def verify(data_dir: DataDir = None) -> int:
    """Check every cent, unit, order and transfer, on all shards and against Temporal. Right while they run.

    Exit code 1 where something does not agree, 3 where a server does not answer.
    """
    out = output()
    audit = run_async(_audit(load_settings(data_dir), out))
    out.result(document_of(audit), _told(audit))
    return 0 if audit.findings.ok else 1


async def _audit(settings: Settings, out: Output) -> Audit:
    async with connected(settings, long_running=True) as to, counted(out) as progress:
        audit = Audit(to.cluster, TemporalWorkflowStates(await to.temporal()), progress)
        await audit.run()
    return audit


def document_of(audit: Audit) -> dict[str, Any]:
    return {
        "ok": audit.findings.ok,
        "in_flight": {
            "orders": audit.in_flight.orders,
            "transfers": audit.in_flight.transfers,
            "money": _money(audit.in_flight),
            "prepared_transactions": audit.in_flight.prepared_transactions,
        },
        "expired": audit.expired,
        "read_model": {
            "rows_in_flight": sum(each.moving for each in audit.projected.values()),
            "not_begun": [shard for shard, each in audit.projected.items() if not each.has_begun],
        },
        "checks": [
            {
                "name": check,
                "ok": finding.violation_count == 0,
                "checked": finding.checked,
                "violation_count": finding.violation_count,
                "violations": [
                    {"what": violation.what, "shard": violation.shard, "row": violation.row}
                    for violation in finding.violations
                ],
            }
            for check, finding in audit.findings.by_check.items()
        ],
    }


def _money(in_flight: InFlight) -> dict[str, dict[str, Any]]:
    return {
        currency: {"count": money.count, "amount": told_amount(money.minor, currency)}
        for currency, money in sorted(in_flight.money.items())
    }


def _told(audit: Audit) -> RenderableType:
    rows = [
        (
            str(check),
            str(finding.checked),
            str(finding.violation_count),
            "ok" if not finding.violation_count else "WRONG",
        )
        for check, finding in audit.findings.by_check.items()
    ]
    parts: list[RenderableType] = [
        table(("check", "checked", "violations", ""), rows),
        *_violations(audit.findings),
        _in_flight(audit),
    ]
    return Group(*parts)


def _violations(findings: Findings) -> Iterator[str]:
    for check, finding in findings.by_check.items():
        for violation in finding.violations[:VIOLATIONS_TOLD_MAX]:
            yield f"{check}: {violation.what}" + (f" [{violation.shard}]" if violation.shard else "")
        more = finding.violation_count - min(len(finding.violations), VIOLATIONS_TOLD_MAX)
        if more > 0:
            yield f"{check}: and {more} more (--json tells up to 100)"


def _in_flight(audit: Audit) -> str:
    money = ", ".join(
        f"{each['amount']} {currency} in {each['count']} payments" for currency, each in _money(audit.in_flight).items()
    )
    told = f"in flight: {audit.in_flight.orders} orders, {audit.in_flight.transfers} transfers, {money or 'no money'}"
    if audit.in_flight.prepared_transactions:
        told += f", {audit.in_flight.prepared_transactions} prepared transactions"
    if moving := sum(each.moving for each in audit.projected.values()):
        told += f", {moving} rows on their way to the read model"
    if not_begun := [shard for shard, each in audit.projected.items() if not each.has_begun]:
        told += f"; not compared: the read model has taken nothing yet of {', '.join(not_begun)}"
    return told + (f"; {audit.expired} older than Temporal's memory" if audit.expired else "")
