"""`verify`: is every cent and every unit of stock accounted for?"""

from __future__ import annotations

from collections.abc import Iterator

import typer
from rich.console import Group, RenderableType

from cli.terminal.application import call_app
from cli.terminal.options import DataDir
from cli.terminal.output import output, table
from cli.terminal.progress import progress_shown
from shardwise import Shardwise
from shardwise.operations.service import VerifyReport

VIOLATIONS_SHOWN_MAX = 20


def register(app: typer.Typer) -> None:
    app.command()(verify)


def verify(data_dir: DataDir = None) -> int:
    """Check every cent, unit, order and transfer, on all shards and against Temporal. Correct while they run.

    Exit code 1 if something does not agree, 3 if a server does not answer.
    """

    async def verified(app: Shardwise) -> VerifyReport:
        async with progress_shown(output()) as progress:
            return await app.operations.verify(progress)

    found = call_app(data_dir, verified)
    output().result(found, _rendered(found))
    return 0 if found.ok else 1


def _rendered(found: VerifyReport) -> RenderableType:
    rows = [
        (each.name, str(each.checked), str(each.violation_count), "ok" if each.ok else "WRONG") for each in found.checks
    ]
    return Group(table(("check", "checked", "violations", ""), rows), *_violations(found), _in_flight(found))


def _violations(found: VerifyReport) -> Iterator[str]:
    for check in found.checks:
        for violation in check.violations[:VIOLATIONS_SHOWN_MAX]:
            yield f"{check.name}: {violation.what}" + (f" [{violation.shard}]" if violation.shard else "")
        more = check.violation_count - min(len(check.violations), VIOLATIONS_SHOWN_MAX)
        if more > 0:
            yield f"{check.name}: and {more} more (--json shows up to 100)"


def _in_flight(found: VerifyReport) -> str:
    now = found.in_flight
    money = ", ".join(f"{each.amount} {currency} in {each.count} payments" for currency, each in now.money.items())
    text = f"in flight: {now.orders} orders, {now.transfers} transfers, {money or 'no money'}"
    if now.prepared_transactions:
        text += f", {now.prepared_transactions} prepared transactions"
    if found.read_model.rows_in_flight:
        text += f", {found.read_model.rows_in_flight} rows on their way to the read model"
    if found.read_model.not_begun:
        text += f"; not compared: the read model has taken nothing yet of {', '.join(found.read_model.not_begun)}"
    return text + (f"; {found.expired} older than Temporal's memory" if found.expired else "")
