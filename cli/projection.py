"""`projection`: how far the read model is, and building it anew beside the one that is read."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from cli.events import status
from cli.terminal.asking import ask
from cli.terminal.common import DataDir
from cli.terminal.output import output, table
from cli.terminal.progress import counted
from domain.limits import SECONDS_MAX
from shardwise import Shardwise
from shardwise.operations.rebuilt import ComparedDocument, PlanDocument, RebuildDocument, RebuildOutcome

_EXIT_CODES = {RebuildOutcome.SWITCHED: 0, RebuildOutcome.DAMAGED: 1, RebuildOutcome.REFUSED: 1}


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The read model and what feeds it.", no_args_is_help=True)
    group.command()(status)
    group.command()(rebuild)
    group.command()(confirm)
    group.command()(revert)
    group.command()(retry)
    app.add_typer(group, name="projection")


def rebuild(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be filled.")] = False,
    stuck_after: Annotated[
        float,
        typer.Option(min=0.1, max=SECONDS_MAX, metavar="SECONDS", help="Stop waiting when nothing moves for so long."),
    ] = 60.0,
    data_dir: DataDir = None,
) -> int:
    """Fill a new version of the read model beside the old from the shards' tables, compare the two, and switch at once.

    Orders go on, readers see the old version until the switch, and reactors have no part in it: nothing is placed, paid
    or shipped again. The old version is kept, and kept up to date, until `projection confirm`. Joins a rebuild that
    runs; Ctrl-C leaves it running.

    Exit code 1 where the new version is not what the shards say, or the version before is not confirmed yet; 3 where
    nothing moves.
    """
    if dry_run:
        plan = ask(data_dir, lambda app: app.operations.plan_rebuild())
        output().result(plan, _plan(plan))
        return 1 if plan.refused else 0

    async def rebuilt(app: Shardwise) -> RebuildDocument:
        if not await app.operations.rebuild_has_worker():
            output().progress("no worker polls for rebuilds: it waits for one (`shardwise up` or `worker`)")
        async with counted(output()) as progress:
            return await app.operations.rebuild(progress, stuck_after)

    done = ask(data_dir, rebuilt)
    output().result(done, _rebuilt(done))
    return _EXIT_CODES.get(done.outcome, 3)


def confirm(data_dir: DataDir = None) -> None:
    """Drop the version of the read model that was live before the last switch. Cannot be undone; safe to repeat."""
    dropped = ask(data_dir, lambda app: app.operations.confirm_rebuild())
    told = "the version before is dropped" if dropped else "nothing to confirm: there is no version before"
    output().result({"confirmed": dropped}, told)


def revert(data_dir: DataDir = None) -> None:
    """Go back to the version of the read model that was live before the last switch, and drop the new one. Also drops
    what a rebuild has left that did not come to its switch."""
    switched = ask(data_dir, lambda app: app.operations.revert_rebuild())
    told = "the version before is live again, up to date" if switched else "what was filled is dropped"
    output().result({"switched_back": switched}, told)


def retry(data_dir: DataDir = None) -> int:
    """Take once more what was parked, after its reason was mended: into the read model, and to the reactors of
    choreographed orders. Exit code 1 where something still is parked."""
    parked = ask(data_dir, lambda app: app.operations.retry_parked())
    still = sum(parked.values())
    rows = [(shard, str(count)) for shard, count in parked.items()]
    told = Group("still parked:", table(("shard", "parked"), rows)) if still else "nothing is parked"
    output().result({"parked": parked}, told)
    return 1 if still else 0


def _plan(plan: PlanDocument) -> RenderableType:
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


def _rebuilt(done: RebuildDocument) -> RenderableType:
    match done.outcome:
        case RebuildOutcome.SWITCHED:
            told = (
                f"{done.next.rows} rows filled, compared and switched to in {done.seconds:.1f} s. The version before "
                "is kept: `shardwise projection confirm` drops it, `shardwise projection revert` goes back to it"
            )
        case RebuildOutcome.DAMAGED:
            told = (
                "not switched: the new version is not what the shards say. It is left as `next`, to be "
                "looked at; another rebuild begins anew, and `shardwise projection revert` drops it"
            )
        case RebuildOutcome.REFUSED:
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
