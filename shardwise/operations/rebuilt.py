"""Documents: what a rebuild would do, and what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from activities.interfaces import ComparedRows
from domain.documents import Document
from shards.projection.filling import Rows
from workflows.interfaces import Rebuilt


class PlannedRows(Document):
    shard: str
    part: str
    rows: int


class PlanDocument(Document):
    """`versions`: those that exist. `refused`: why no rebuild would begin now."""

    dry_run: bool = True
    versions: list[str]
    running: bool
    refused: str | None
    rows: list[PlannedRows]


class ComparedDocument(Document):
    """For all shards together. `rows` were compared; `in_flight` ones could not be judged. `wrong_by_table`: rows that
    differ from their shard's. `wrong` counts these and whatever else is wrong: a sum, a name, what is parked, a history
    that was lost."""

    rows: int
    in_flight: int
    wrong: int
    wrong_by_table: dict[str, int]
    examples: list[str]


class RebuildOutcome(StrEnum):
    """`running`: nothing has moved for a while; it goes on without its caller."""

    SWITCHED = "switched"
    DAMAGED = "damaged"
    REFUSED = "refused"
    RUNNING = "running"


class RebuildDocument(Document):
    """`next` is the version that was filled, `live` the one that was there before."""

    dry_run: bool = False
    outcome: RebuildOutcome
    refused: str | None
    next: ComparedDocument
    live: ComparedDocument
    seconds: float


def plan_of(rows: Sequence[Rows], versions: Sequence[str], running: bool, refused: str | None) -> PlanDocument:
    planned = [PlannedRows(shard=each.shard, part=each.part, rows=each.rows) for each in rows]
    return PlanDocument(versions=list(versions), running=running, refused=refused, rows=planned)


def document_of(rebuilt: Rebuilt | None, seconds: float) -> RebuildDocument:
    """`rebuilt` None: it had not ended yet."""
    compared = list(rebuilt.compared.values()) if rebuilt else []
    return RebuildDocument(
        outcome=RebuildOutcome(rebuilt.phase) if rebuilt else RebuildOutcome.RUNNING,
        refused=rebuilt.refusal if rebuilt else None,
        next=_together([each.next for each in compared]),
        live=_together([each.live for each in compared]),
        seconds=round(seconds, 3),
    )


def _together(parts: Sequence[ComparedRows]) -> ComparedDocument:
    by_table: Counter[str] = Counter()
    for part in parts:
        by_table.update(part.by_table)
    return ComparedDocument(
        rows=sum(each.rows for each in parts),
        in_flight=sum(each.in_flight for each in parts),
        wrong=sum(each.wrong for each in parts),
        wrong_by_table=dict(sorted(by_table.items())),
        examples=[example for each in parts for example in each.examples],
    )
