"""A file of transfers, carried out as one batch: the bulk lane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from domain.errors import InvalidInput
from domain.progress import Report
from shards.transfers.batch.outcomes import LineStatus, read_outcomes
from shards.transfers.batch.staging import Staged, Staging, exclusive_staging
from shardwise.connections import Connections, Installation
from shardwise.files.faults import Faults
from shardwise.files.transfer_file import GoodLine, batch_id_of, open_transfers, read_transfers
from shardwise.files.transfer_outcomes import InvalidLines, Tally, outcomes_file, outcomes_path, write_outcomes
from shardwise.temporal.calls import WorkflowFailed
from shardwise.transfers.batches import TransferBatches
from workflows.interfaces import BatchProgress, TransferBatch


@dataclass(frozen=True, slots=True)
class ImportedTransfers:
    """How many lines of a file ended how; the file `outcomes` has the outcome of each."""

    batch_id: str
    tally: Tally
    seconds: float
    outcomes: Path

    def document(self) -> dict[str, Any]:
        return {
            "batch_id": self.batch_id,
            "total": self.tally.statuses.total(),
            **{status.value: self.tally.statuses[status] for status in LineStatus},
            "by_reason": dict(self.tally.by_reason.most_common()),
            "seconds": self.seconds,
            "outcomes": str(self.outcomes),
        }


async def import_transfers(
    installation: Installation, file: Path, say: Callable[[str], None], report: Report, quiet_seconds: float
) -> ImportedTransfers:
    """See `Transfers.import_file`."""
    started = time.monotonic()
    with open_transfers(file) as source:
        to = installation.without_timeouts
        # Both must answer before anything is staged.
        await asyncio.gather(to.router.map(), to.temporal())
        batch = _BatchImport(to, source, await asyncio.to_thread(batch_id_of, source), say)
        outcomes = outcomes_path(file)
        with outcomes_file(outcomes) as rows:
            tally = await batch.run(rows, report, quiet_seconds)
    return ImportedTransfers(batch.batch_id, tally, round(time.monotonic() - started, 3), outcomes)


@dataclass
class _Read:
    """`last`: the number of the file's last line. `good`: how many lines are valid."""

    last: int = 0
    good: int = 0


class _BatchImport:
    """One run over one file. Killed at any point, the next one goes on from there."""

    def __init__(self, to: Connections, source: BufferedReader, batch_id: str, say: Callable[[str], None]) -> None:
        self.batch_id = batch_id
        self._to = to
        self._source = source
        self._say = say
        self._faults = Faults(say)
        self._invalid = InvalidLines()
        self._read = _Read()

    async def run(self, file: IO[str], report: Report, quiet_seconds: float) -> Tally:
        try:
            staged = await self._stage(report)
            finished = not staged.lines or await self._carry_out(staged, report, quiet_seconds)
            report("writing the outcomes", self._read.last, self._read.last)
            shard_map = await self._to.router.map()
            pages = read_outcomes(self._to.cluster, shard_map, self.batch_id, self._read.last, finished)
            tally = await write_outcomes(file, pages, self._invalid.read(), self._faults.report)
            self._faults.report_rest()
            return tally
        finally:
            self._invalid.close()

    async def _stage(self, report: Report) -> Staged:
        cluster, shard_map = self._to.cluster, await self._to.router.map()
        async with exclusive_staging(cluster, shard_map, self.batch_id) as staging:
            await staging.drop_old()
            found = await staging.found()
            if found is None:
                await staging.begin()
            await self._read_all(None if found else staging, report)
            if await asyncio.to_thread(batch_id_of, self._source) != self.batch_id:
                raise InvalidInput("file", "file: it was changed while it was read; nothing was begun")
            return found or await staging.end()

    async def _read_all(self, staging: Staging | None, report: Report) -> None:
        """Checks every line, and stages the valid ones if they are not staged yet."""
        async for batch in read_transfers(self._source):
            for line in batch:
                self._read.last = line.n
                if not isinstance(line, GoodLine):
                    self._invalid.add(line)
                    self._faults.report(line.n, line.message)
                    continue
                self._read.good += 1
                if staging is not None:
                    await staging.add(line.n, line.transfer)
            report("reading the file, lines", self._read.last, None)

    async def _carry_out(self, staged: Staged, report: Report, quiet_seconds: float) -> bool:
        """Whether the batch has ended."""
        batches = TransferBatches(self._to.temporal)
        if not await batches.has_worker():
            self._say("no worker polls for transfers: the batch waits for one (`shardwise up` or `worker`)")
        handle = await batches.start(TransferBatch(self.batch_id, dict(staged.lines)))
        began = time.monotonic()

        def shown(progress: BatchProgress) -> None:
            counts = progress.counts
            done = counts.settled + counts.declined + counts.others
            rate = done / max(time.monotonic() - began, 0.001)
            report(f"{rate:.0f} transfers/s", min(done, self._read.good), self._read.good)

        try:
            ended = await batches.ended(handle, shown, quiet_seconds)
        except WorkflowFailed as failed:
            self._say(f"the batch ended before it was done; the same command goes on with it: {failed}")
            return False
        if not ended:
            self._say(f"nothing has moved for {quiet_seconds:g} s: the batch goes on when it can")
        return ended
