"""`import transfers`: the bulk lane."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.terminal.application import call_app
from cli.terminal.options import DataDir, SessionFile
from cli.terminal.output import output
from cli.terminal.progress import progress_shown
from domain.limits import SECONDS_MAX
from shardwise import Shardwise
from shardwise.files.transfer_outcomes import LineStatus, Tally
from shardwise.transfers.importing import ImportedTransfers


def register(group: typer.Typer) -> None:
    group.command()(transfers)


def transfers(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", show_default=False)],
    stuck_after: Annotated[
        float,
        typer.Option(min=0.1, max=SECONDS_MAX, metavar="SECONDS", help="Stop waiting when nothing moves for so long."),
    ] = 60.0,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> int:
    """Carry out every transfer of a file as one batch, and write NAME.outcomes.csv beside it. Safe to repeat: the same
    file joins its batch, and moves nothing twice. Ctrl-C leaves the batch running.

    Columns: transfer_id,source,target,amount,currency,reference

    Exit code 2 when lines were invalid, else 3 when transfers are pending, else 0.
    """
    out = output()

    async def imported(app: Shardwise) -> ImportedTransfers:
        async with progress_shown(out) as report:
            return await app.transfers.import_file(file, out.progress, report, stuck_after)

    done = call_app(data_dir, imported, session)
    out.result(done.document(), _summary(done))
    return _exit_code(done.tally)


def _summary(done: ImportedTransfers) -> str:
    tally, seconds = done.tally, done.seconds
    total = tally.statuses.total()
    counts = ", ".join(f"{tally.statuses[status]} {status}" for status in LineStatus if tally.statuses[status])
    reasons = [f"  {count} {reason}" for reason, count in tally.by_reason.most_common()]
    rate = total / max(seconds, 0.001)
    return "\n".join(
        [
            f"{total} transfers in {seconds:.1f} s, {rate:.0f}/s: {counts or 'none'}",
            *reasons,
            f"outcomes: {done.outcomes}",
        ]
    )


def _exit_code(tally: Tally) -> int:
    if tally.statuses[LineStatus.INVALID]:
        return 2
    return 3 if tally.statuses[LineStatus.PENDING] else 0
