"""`recover`: give orders and transfers that lost their workflow a new one, and end what is in doubt."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from cli import in_doubt
from cli.common import DataDir, run_async
from cli.connections import connected
from cli.output import Output, output, table
from cli.progress import counted
from cli.recovery import Found, Recovery
from domain.in_doubt import InDoubtReport
from domain.transfers import TransferState
from stack.settings import Settings, load_settings

ROWS_SHOWN_MAX = 50
_TRANSFER = ("source", "transfer")
_STOOD_AT = {
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
    """Start the workflows of orders and transfers again that nobody works on: terminated, or lost by Temporal.

    Ends the two-phase commits first that nobody decides any more, as a workflow does every half minute.

    Safe to repeat. Sagas go on from their rows by themselves, undecided orders with the cancellation window of the
    settings: what should not be confirmed any more is for `order cancel`. Exit code 1 where it meets rows that no
    workflow mends; `verify` looks for all of them. Tells the newest starts that were refused as bad input, too.
    """
    swept, found = run_async(_recover(load_settings(data_dir), dry_run, output()))
    document = {**_document(found, dry_run), "in_doubt": in_doubt.document_of(swept)}
    output().result(document, Group(*in_doubt.told(swept, dry_run), _told(found, dry_run)))
    return 1 if found.damage else 0


async def _recover(settings: Settings, dry_run: bool, out: Output) -> tuple[InDoubtReport, Found]:
    async with connected(settings, long_running=True) as to, counted(out) as progress:
        swept = await in_doubt.resolve_in_doubt(to, dry_run)
        recovery = Recovery(to, settings, progress)
        found = await recovery.find()
        if not dry_run:
            await recovery.start(found)
    return swept, found


def _document(found: Found, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "orders": [{"order_id": each.order_id, "status": each.status, "started": not dry_run} for each in found.orders],
        "transfers": [
            {"source": each.key[0], "transfer_id": each.key[1], "state": each.state, "started": not dry_run}
            for each in found.transfers
        ],
        "refused": [
            {
                "workflow_id": each.workflow_id,
                "code": each.fault.code,
                "message": each.fault.message,
                "field": each.fault.field,
            }
            for each in found.refused
        ],
        "batches": [{"batch_id": each, "started": not dry_run} for each in found.batches],
        "damage": [{"what": each.what, "shard": each.shard, "row": dict(each.row)} for each in found.damage],
    }


def _told(found: Found, dry_run: bool) -> RenderableType:
    verb = "would be started" if dry_run else "started"
    parts: list[RenderableType] = []
    if not any((found.orders, found.transfers, found.batches, found.damage)):
        parts.append("nothing to recover: somebody works on all that is not final")
    if found.orders:
        rows = [(each.order_id, each.status or "not begun") for each in found.orders[:ROWS_SHOWN_MAX]]
        parts.append(table(("order", "stood at"), rows, f"{verb} again: {len(found.orders)}"))
    if found.transfers:
        told = [(*each.key, _STOOD_AT[each.state]) for each in found.transfers[:ROWS_SHOWN_MAX]]
        parts.append(
            table(("source", "transfer", "stood at"), told, f"{verb} again: {len(found.transfers)}", _TRANSFER)
        )
    if found.batches:
        parts.append(table(("batch of transfers",), [(each,) for each in found.batches], f"{verb} again"))
    if found.refused:
        refused = [(each.workflow_id, each.fault.message) for each in found.refused]
        parts.append(table(("started as", "what no rule allows: nothing was begun"), refused, "refused at their start"))
    if found.damage:
        parts.append(table(("shard", "damage that no workflow mends"), [(x.shard or "", x.what) for x in found.damage]))
    return Group(*parts)
