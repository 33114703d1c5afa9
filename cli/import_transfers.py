"""`import transfers`: the bulk lane."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.common import DataDir, run_async
from cli.connections import Connections, connected
from cli.import_orders import Faults
from cli.output import Output, output
from cli.progress import Report, counted
from cli.saga_calls import SagaBroke
from cli.transfer_batches import TransferBatches
from cli.transfer_file import GoodLine, batch_id_of, open_transfers, read_transfers
from cli.transfer_outcomes import InvalidLines, Tally, outcomes_file, outcomes_path, write_outcomes
from domain.errors import InvalidInput
from domain.limits import SECONDS_MAX
from shards.batch_outcomes import LineStatus, read_outcomes
from shards.batch_staging import Staged, Staging, staging_turn
from stack.settings import Settings, load_settings
from workflows.interfaces import BatchProgress, TransferBatch


def register(group: typer.Typer) -> None:
    group.command()(transfers)


def transfers(
    file: Annotated[Path, typer.Argument(metavar="FILE.csv", show_default=False)],
    stuck_after: Annotated[
        float,
        typer.Option(min=0.1, max=SECONDS_MAX, metavar="SECONDS", help="Stop waiting when nothing moves for so long."),
    ] = 60.0,
    data_dir: DataDir = None,
) -> int:
    """Carry out every transfer of a file as one batch, and write NAME.outcomes.csv beside it. Safe to repeat: the same
    file joins its batch, and moves nothing twice. Ctrl-C leaves the batch running.

    Columns: transfer_id,source,target,amount,currency,reference

    Exit code 2 when lines were invalid, else 3 when transfers are pending, else 0.
    """
    settings = load_settings(data_dir)
    with open_transfers(file) as source:
        return run_async(_import(settings, source, outcomes_path(file), stuck_after))


async def _import(settings: Settings, source: BufferedReader, outcomes: Path, quiet_seconds: float) -> int:
    out = output()
    started = time.monotonic()
    async with connected(settings, long_running=True) as to:
        # Both before anything is staged.
        await asyncio.gather(to.router.map(), to.temporal())
        batch = _BatchImport(to, source, batch_id_of(source), out)
        with outcomes_file(outcomes) as file:
            async with counted(out) as report:
                tally = await batch.run(file, report, quiet_seconds)
    seconds = round(time.monotonic() - started, 3)
    out.result(_document(batch.batch_id, tally, seconds, outcomes), _summary(tally, seconds, outcomes))
    return _exit_code(tally)


@dataclass
class _Read:
    """What was found in the file. `last` is its last line."""

    last: int = 0
    good: int = 0


class _BatchImport:
    """One run over one file. Killed at any point, the next one goes on from there."""

    def __init__(self, to: Connections, source: BufferedReader, batch_id: str, out: Output) -> None:
        self.batch_id = batch_id
        self._to = to
        self._source = source
        self._out = out
        self._faults = Faults(out)
        self._invalid = InvalidLines()
        self._read = _Read()

    async def run(self, file: Any, report: Report, quiet_seconds: float) -> Tally:
        try:
            staged = await self._stage(report)
            finished = not staged.lines or await self._carry_out(staged, report, quiet_seconds)
            report("writing the outcomes", self._read.last, self._read.last)
            shard_map = await self._to.router.map()
            pages = read_outcomes(self._to.cluster, shard_map, self.batch_id, self._read.last, finished)
            tally = await write_outcomes(file, pages, self._invalid.read(), self._faults.tell)
            self._faults.tell_rest()
            return tally
        finally:
            self._invalid.close()

    async def _stage(self, report: Report) -> Staged:
        cluster, shard_map = self._to.cluster, await self._to.router.map()
        async with staging_turn(cluster, shard_map, self.batch_id) as staging:
            await staging.drop_old()
            found = await staging.found()
            if found is None:
                await staging.begin()
            await self._read_all(None if found else staging, report)
            if batch_id_of(self._source) != self.batch_id:
                raise InvalidInput("file", "file: it was changed while it was read; nothing was begun")
            return found or await staging.end()

    async def _read_all(self, staging: Staging | None, report: Report) -> None:
        """Every line is looked at; the good ones are staged where they are not yet."""
        async for batch in read_transfers(self._source):
            for line in batch:
                self._read.last = line.n
                if not isinstance(line, GoodLine):
                    self._invalid.add(line)
                    self._faults.tell(line.n, line.message)
                    continue
                self._read.good += 1
                if staging is not None:
                    await staging.add(line.n, line.transfer)
            report("reading the file, lines", self._read.last, None)

    async def _carry_out(self, staged: Staged, report: Report, quiet_seconds: float) -> bool:
        """Whether the batch came to its end."""
        batches = TransferBatches(self._to.temporal)
        if not await batches.has_worker():
            self._out.progress("no worker polls for transfers: the batch waits for one (`shardwise up` or `worker`)")
        handle = await batches.start(TransferBatch(self.batch_id, dict(staged.lines)))
        began = time.monotonic()

        def shown(progress: BatchProgress) -> None:
            counts = progress.counts
            done = counts.settled + counts.declined + counts.others
            rate = done / max(time.monotonic() - began, 0.001)
            report(f"{rate:.0f} transfers/s", min(done, self._read.good), self._read.good)

        try:
            ended = await batches.ended(handle, shown, quiet_seconds)
        except SagaBroke as broke:
            self._out.progress(f"the batch ended before its end, the same command goes on with it: {broke}")
            return False
        if not ended:
            self._out.progress(f"nothing has moved for {quiet_seconds:g} s: the batch goes on when it can")
        return ended


def _document(batch_id: str, tally: Tally, seconds: float, outcomes: Path) -> dict[str, Any]:
    counts = {status.value: tally.statuses[status] for status in LineStatus}
    total = tally.statuses.total()
    by_reason = dict(tally.by_reason.most_common())
    return {
        "batch_id": batch_id,
        "total": total,
        **counts,
        "by_reason": by_reason,
        "seconds": seconds,
        "outcomes": str(outcomes),
    }


def _summary(tally: Tally, seconds: float, outcomes: Path) -> str:
    total = tally.statuses.total()
    counts = ", ".join(f"{tally.statuses[status]} {status}" for status in LineStatus if tally.statuses[status])
    reasons = [f"  {count} {reason}" for reason, count in tally.by_reason.most_common()]
    rate = total / max(seconds, 0.001)
    return "\n".join(
        [f"{total} transfers in {seconds:.1f} s, {rate:.0f}/s: {counts or 'none'}", *reasons, f"outcomes: {outcomes}"]
    )


def _exit_code(tally: Tally) -> int:
    if tally.statuses[LineStatus.INVALID]:
        return 2
    return 3 if tally.statuses[LineStatus.PENDING] else 0
