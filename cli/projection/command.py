"""`projection`: how far behind the read model is, and building a new version beside the live one."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from cli.projection.status import status
from cli.terminal.application import call_app
from cli.terminal.options import DataDir
from cli.terminal.output import output, table
from cli.terminal.progress import progress_shown
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

    Exit code 1 if the new version is not what the shards say, or the version before is not confirmed yet; 3 if nothing
    moves.
    """
    if dry_run:
        plan = call_app(data_dir, lambda app: app.operations.plan_rebuild())
        output().result(plan, _plan(plan))
        return 1 if plan.refused else 0

    async def rebuilt(app: Shardwise) -> RebuildDocument:
        if not await app.operations.rebuild_has_worker():
            output().progress("no worker polls for rebuilds: it waits for one (`shardwise up` or `worker`)")
        async with progress_shown(output()) as progress:
            return await app.operations.rebuild(progress, stuck_after)

    done = call_app(data_dir, rebuilt)
    output().result(done, _rebuilt(done))
    return _EXIT_CODES.get(done.outcome, 3)


def confirm(data_dir: DataDir = None) -> None:
    """Drop the version of the read model that was live before the last switch. Cannot be undone; safe to repeat."""
    dropped = call_app(data_dir, lambda app: app.operations.confirm_rebuild())
    text = "the version before is dropped" if dropped else "nothing to confirm: there is no version before"
    output().result({"confirmed": dropped}, text)


def revert(data_dir: DataDir = None) -> None:
    """Go back to the version of the read model that was live before the last switch, and drop the new one. Also drops
    what an unfinished rebuild has left."""
    switched = call_app(data_dir, lambda app: app.operations.revert_rebuild())
    text = "the version before is live again, up to date" if switched else "what was filled is dropped"
    output().result({"switched_back": switched}, text)


def retry(data_dir: DataDir = None) -> int:
    """Take once more what was parked (dead letters), after the reason was repaired: into the read model, and to the
    reactors of choreographed orders. Exit code 1 if something is still parked."""
    parked = call_app(data_dir, lambda app: app.operations.retry_parked())
    still = sum(parked.values())
    rows = [(shard, str(count)) for shard, count in parked.items()]
    text = Group("still parked:", table(("shard", "parked"), rows)) if still else "nothing is parked"
    output().result({"parked": parked}, text)
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
            text = (
                f"{done.next.rows} rows filled, compared and switched to in {done.seconds:.1f} s. The version before "
                "is kept: `shardwise projection confirm` drops it, `shardwise projection revert` goes back to it"
            )
        case RebuildOutcome.DAMAGED:
            text = (
                "not switched: the new version is not what the shards say. It is left as `next`, to be "
                "looked at; another rebuild starts from nothing, and `shardwise projection revert` drops it"
            )
        case RebuildOutcome.REFUSED:
            text = f"nothing was begun: {done.refused}"
        case _:
            text = "nothing moves: the rebuild goes on when it can, and the same command joins it"
    versions = [("the new version", done.next), ("the one before", done.live)]
    page: list[RenderableType] = [text]
    for name, compared in versions:
        if compared.wrong:
            page.append(f"wrong in {name}: {_wrong(compared)}")
            page += [f"  {example}" for example in compared.examples]
    return Group(*page)


def _wrong(compared: ComparedDocument) -> str:
    tables = ", ".join(f"{count} of {of}" for of, count in compared.wrong_by_table.items())
    rows = sum(compared.wrong_by_table.values())
    others = compared.wrong - rows
    parts = [f"{rows} rows ({tables})"] if rows else []
    parts += [f"{others} thing{'' if others == 1 else 's'} beside rows"] if others else []
    return " and ".join(parts)
