"""What `projection rebuild` tells: what it would do, and what it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel
from rich.console import Group, RenderableType

from activities.interfaces import ComparedRows
from cli.output import table
from shards.projection.filling import Rows
from workflows.interfaces import Phase, Rebuilt


class PlannedRows(BaseModel):
    shard: str
    part: str
    rows: int


class PlanDocument(BaseModel):
    """`versions` that there are. `refused`: why no rebuild would begin now."""

    dry_run: bool = True
    versions: list[str]
    running: bool
    refused: str | None
    rows: list[PlannedRows]


class ComparedDocument(BaseModel):
    """Of all shards together. `rows` were looked at; `in_flight` ones could not be judged. `wrong_by_table`: where rows
    are not as their shard's. `wrong` counts these and whatever else is wrong: a sum, a name, what is parked, a history
    that was lost."""

    rows: int
    in_flight: int
    wrong: int
    wrong_by_table: dict[str, int]
    examples: list[str]


class RebuildDocument(BaseModel):
    """`outcome`: switched, damaged, refused, or running, where it goes on without this command. `next` is the version
    that was filled, `live` the one that was there before."""

    dry_run: bool = False
    outcome: str
    refused: str | None
    next: ComparedDocument
    live: ComparedDocument
    seconds: float


def plan_of(rows: Sequence[Rows], versions: Sequence[str], running: bool, refused: str | None) -> PlanDocument:
    planned = [PlannedRows(shard=each.shard, part=each.part, rows=each.rows) for each in rows]
    return PlanDocument(versions=list(versions), running=running, refused=refused, rows=planned)


def told_plan(plan: PlanDocument) -> RenderableType:
    shards = list(dict.fromkeys(each.shard for each in plan.rows))
    counts = {(each.part, each.shard): each.rows for each in plan.rows}
    rows = [
        (part, *(str(counts[part, shard]) for shard in shards))
        for part in dict.fromkeys(each.part for each in plan.rows)
    ]
    if plan.refused:
        then = f"nothing would begin: {plan.refused}"
    elif plan.running:
        then = "a rebuild runs already, which would be joined"
    else:
        then = (
            "would fill a new version from these, compare each row of it with the shards, switch to it, and keep the "
            "old one until `shardwise projection confirm`"
        )
    return Group(table(("rows of", *shards), rows), then)


def document_of(rebuilt: Rebuilt | None, seconds: float) -> RebuildDocument:
    """`rebuilt` None: it had not ended yet."""
    compared = list(rebuilt.compared.values()) if rebuilt else []
    return RebuildDocument(
        outcome=rebuilt.phase if rebuilt else "running",
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


def told_rebuild(done: RebuildDocument) -> RenderableType:
    match done.outcome:
        case Phase.SWITCHED:
            told = (
                f"{done.next.rows} rows filled, compared and switched to in {done.seconds:.1f} s. The version before "
                "is kept: `shardwise projection confirm` drops it, `shardwise projection revert` goes back to it"
            )
        case Phase.DAMAGED:
            told = (
                "not switched: the new version is not what the shards say. It is left as `next`, to be "
                "looked at; another rebuild begins anew, and `shardwise projection revert` drops it"
            )
        case Phase.REFUSED:
            told = f"nothing was begun: {done.refused}"
        case _:
            told = "nothing moves: the rebuild goes on when it can, and the same command joins it"
    before = [("the new version", done.next), ("the one before", done.live)]
    parts: list[RenderableType] = [told]
    for name, compared in before:
        if compared.wrong:
            parts.append(f"wrong in {name}: {_wrong(compared)}")
            parts += [f"  {example}" for example in compared.examples]
    return Group(*parts)


def _wrong(compared: ComparedDocument) -> str:
    tables = ", ".join(f"{count} of {of}" for of, count in compared.wrong_by_table.items())
    rows = sum(compared.wrong_by_table.values())
    others = compared.wrong - rows
    told = [f"{rows} rows ({tables})"] if rows else []
    told += [f"{others} thing{'' if others == 1 else 's'} beside rows"] if others else []
    return " and ".join(told)
