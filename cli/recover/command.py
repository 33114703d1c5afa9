"""`recover`: give orders and transfers that lost their workflow a new one, and end what is in doubt."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from cli.recover import in_doubt
from cli.terminal.application import call_app
from cli.terminal.options import DataDir
from cli.terminal.output import output, table
from cli.terminal.progress import progress_shown
from domain.transfers import TransferState
from shardwise import Shardwise
from shardwise.operations.recovered import RecoverReport

ROWS_SHOWN_MAX = 50
_TRANSFER = ("source", "transfer")
_STATES = {
    None: "not begun",
    TransferState.PENDING: "pending",
    TransferState.CONFIRMED: "decided, on its way",
    TransferState.DECLINED: "declined",
}


def register(app: typer.Typer) -> None:
    app.command()(recover)


def recover(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be started again.")] = False,
    data_dir: DataDir = None,
) -> int:
    """Start orders and transfers again whose workflow was terminated, or lost by Temporal.

    First ends the two-phase commits that nobody decides any more, as a workflow does every half minute.

    Safe to repeat. Sagas go on from their rows by themselves, undecided orders with the cancellation window of the
    settings: use `order cancel` for those that should not be confirmed any more. Exit code 1 if it finds rows that no
    workflow can repair; `verify` looks for all of them. Shows the newest starts that were refused as bad input, too.
    """

    async def recovered(app: Shardwise) -> RecoverReport:
        async with progress_shown(output()) as progress:
            return await app.operations.recover(dry_run, progress)

    found = call_app(data_dir, recovered)
    output().result(found, Group(*in_doubt.rendered(found.in_doubt, dry_run), _rendered(found)))
    return 1 if found.damage else 0


def _rendered(found: RecoverReport) -> RenderableType:
    verb = "would be started" if found.dry_run else "started"
    parts: list[RenderableType] = []
    if not any((found.orders, found.transfers, found.batches, found.damage)):
        parts.append("nothing to recover: a workflow works on everything that is not final")
    if found.orders:
        rows = [(each.order_id, each.status or "not begun") for each in found.orders[:ROWS_SHOWN_MAX]]
        parts.append(table(("order", "stood at"), rows, f"{verb} again: {len(found.orders)}"))
    if found.transfers:
        transfer_rows = [
            (each.source, each.transfer_id, _STATES[each.state]) for each in found.transfers[:ROWS_SHOWN_MAX]
        ]
        parts.append(
            table(("source", "transfer", "stood at"), transfer_rows, f"{verb} again: {len(found.transfers)}", _TRANSFER)
        )
    if found.batches:
        parts.append(table(("batch of transfers",), [(each.batch_id,) for each in found.batches], f"{verb} again"))
    if found.refused:
        refused = [(each.workflow_id, each.message) for each in found.refused]
        parts.append(table(("started as", "what no rule allows: nothing was begun"), refused, "refused at their start"))
    if found.damage:
        parts.append(table(("shard", "damage that no workflow mends"), [(x.shard or "", x.what) for x in found.damage]))
    return Group(*parts)
