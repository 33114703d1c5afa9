"""A rebuild of the read model: a new version beside the live one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import field

from pydantic.dataclasses import dataclass
from temporalio import activity


@dataclass(frozen=True, slots=True)
class FillShard:
    """`seconds`: how long one call works before it returns, so that filling a large shard takes several calls."""

    rebuild_id: str
    shard: str
    seconds: float
    chunk_rows: int


@dataclass(frozen=True, slots=True)
class CompareShard:
    """`shard` None: compare what must agree within the version itself."""

    rebuild_id: str
    shard: str | None


@dataclass(frozen=True, slots=True)
class Begun:
    """The shards to fill from; or why the rebuild may not begin, in which case nothing was done."""

    shards: tuple[str, ...] = ()
    refusal: str | None = None
    refusal_code: str | None = None


@dataclass(frozen=True, slots=True)
class ComparedRows:
    """Counts of a version's rows: `rows` compared; `in_flight`, which cannot be judged because events of theirs are on
    their way; `wrong`, with some of them described in `examples`. `by_table`: those that differ from the shard's
    rows."""

    rows: int = 0
    in_flight: int = 0
    wrong: int = 0
    by_table: dict[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compared:
    """The new version, and the live one that it is to replace, whose damage is the usual reason for a rebuild."""

    next: ComparedRows = field(default_factory=ComparedRows)
    live: ComparedRows = field(default_factory=ComparedRows)


class ReadModelActivities(ABC):
    """The steps of a rebuild. They read only the tables and write only the new version. No reactor is involved, so no
    order is placed, paid or shipped again."""

    @activity.defn
    @abstractmethod
    async def begin_rebuild(self, rebuild_id: str) -> Begun:
        """Makes an empty `next`, in place of one that an earlier rebuild left behind. One transaction, idempotent by
        the rebuild's id.

        Refused while the version before the last switch is neither confirmed nor reverted.
        """

    @activity.defn
    @abstractmethod
    async def fill_shard(self, fill: FillShard) -> bool:
        """Fills `next` from one shard, chunk by chunk, then applies the events that were appended meanwhile. False:
        there is more to do. Heartbeats.

        Idempotent: a chunk, what it wrote and how far it came are one transaction. If we crash here, the next call goes
        on behind the last chunk. Raises `superseded`, for good, if another rebuild has begun.
        """

    @activity.defn
    @abstractmethod
    async def compare_shard(self, compare: CompareShard) -> Compared:
        """Compares `next`, and the live version, with one shard by content, while orders go on. Changes nothing.
        Heartbeats."""

    @activity.defn
    @abstractmethod
    async def switch_read_model(self, rebuild_id: str) -> None:
        """`next` becomes live and live becomes `retired`, in one transaction, in which `next` is brought to the live
        version's position. Idempotent by the rebuild's id. Undone by `shardwise projection revert`."""
