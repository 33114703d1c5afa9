"""Many transfers at once."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pydantic.dataclasses import dataclass
from temporalio import activity

from domain.transfer_batch import Round


@dataclass(frozen=True, slots=True)
class LineRange:
    """`lines` lines of one source shard after line `after`, in the order of the file, `chunk_lines` of them in one
    transaction. `round_` is the first or the second (see `domain.transfer_batch`)."""

    batch_id: str
    shard: str
    round_: Round
    after: int
    lines: int
    chunk_lines: int


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """Lines by outcome. `others`: transfers that were begun outside the batch, which leaves them alone."""

    settled: int = 0
    declined: int = 0
    postponed: int = 0
    others: int = 0

    def __add__(self, more: BatchCounts) -> BatchCounts:
        return BatchCounts(
            self.settled + more.settled,
            self.declined + more.declined,
            self.postponed + more.postponed,
            self.others + more.others,
        )


@dataclass(frozen=True, slots=True)
class RangeDone:
    """`last` is the last line that was read; None: this shard has no more in this round."""

    last: int | None
    counts: BatchCounts


class TransferBatchActivities(ABC):
    """Many transfers at once. Their rows and admissions are the same as a single transfer's, and so are its rules."""

    @activity.defn
    @abstractmethod
    async def carry_out_lines(self, range_: LineRange) -> RangeDone:
        """Chunk by chunk: admits what goes to other shards, decides on the source's shard in the order of the file,
        credits or withdraws on the targets' shards.

        Idempotent by line: one that has its transfer is only completed, one that was postponed waits for the second
        round. A crash leaves whole transactions, which the next attempt continues. Forward only, cannot be
        refused as a whole. Call it for one shard and round in the order of the lines.
        """

    @activity.defn
    @abstractmethod
    async def finish_batch(self, batch_id: str) -> None:
        """Records in the catalog that the staged lines are no longer needed. Idempotent."""
