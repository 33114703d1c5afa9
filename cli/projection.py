"""`projection`: how far the read model is, and building it anew beside the one that is read."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Group

from activities.reactors import ReactorStarter
from cli.common import DataDir, run_async
from cli.connections import connected
from cli.output import Output, output, table
from cli.progress import counted
from cli.projection_lag import status
from cli.read_model_rebuild import ReadModelRebuilds
from cli.rebuild_documents import PlanDocument, RebuildDocument, document_of, plan_of, told_plan, told_rebuild
from cli.saga_calls import SagaBroke
from domain.errors import Refused, ShardwiseError
from domain.limits import SECONDS_MAX
from shards.outbox_cursors import REACTORS, list_parked
from shards.projection import switching
from shards.projection.projector import Projector
from shards.projection.versions import existing
from stack.settings import Settings, load_settings
from workflows.interfaces import Phase, Rebuild

_EXIT_CODES: dict[str, int] = {Phase.SWITCHED: 0, Phase.DAMAGED: 1, Phase.REFUSED: 1}


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
    settings = load_settings(data_dir)
    if dry_run:
        plan = run_async(_plan(settings))
        output().result(plan, told_plan(plan))
        return 1 if plan.refused else 0
    done = run_async(_rebuild(settings, stuck_after, output()))
    output().result(done, told_rebuild(done))
    return _EXIT_CODES.get(done.outcome, 3)


async def _plan(settings: Settings) -> PlanDocument:
    async with connected(settings, long_running=True) as to:
        rebuilds = ReadModelRebuilds(to.temporal, to.cluster)
        async with to.cluster.read_model.transaction() as connection:
            versions = await existing(connection)
        refused = switching.why_not(versions)
        return plan_of(
            await rebuilds.to_fill(),
            [each.value for each in versions],
            await rebuilds.is_running(),
            refused.message if refused else None,
        )


async def _rebuild(settings: Settings, quiet_seconds: float, out: Output) -> RebuildDocument:
    began = time.monotonic()
    async with connected(settings, long_running=True) as to:
        rebuilds = ReadModelRebuilds(to.temporal, to.cluster)
        if not await rebuilds.has_worker():
            out.progress("no worker polls for rebuilds: it waits for one (`shardwise up` or `worker`)")
        handle = await rebuilds.start(Rebuild())
        async with counted(out) as report:
            try:
                rebuilt = await rebuilds.ended(handle, report, quiet_seconds)
            except SagaBroke as broke:
                message = f"the rebuild ended before its end, the same command begins anew: {broke}"
                raise ShardwiseError("rebuild_broke", message) from broke
    return document_of(rebuilt, time.monotonic() - began)


def confirm(data_dir: DataDir = None) -> None:
    """Drop the version of the read model that was live before the last switch. Cannot be undone; safe to repeat."""
    dropped = run_async(_confirm(load_settings(data_dir)))
    told = "the version before is dropped" if dropped else "nothing to confirm: there is no version before"
    output().result({"confirmed": dropped}, told)


async def _confirm(settings: Settings) -> bool:
    async with connected(settings) as to:
        return await switching.confirm(to.cluster.read_model)


def revert(data_dir: DataDir = None) -> None:
    """Go back to the version of the read model that was live before the last switch, and drop the new one. Also drops
    what a rebuild has left that did not come to its switch."""
    switched = run_async(_revert(load_settings(data_dir)))
    told = "the version before is live again, up to date" if switched else "what was filled is dropped"
    output().result({"switched_back": switched}, told)


async def _revert(settings: Settings) -> bool:
    async with connected(settings) as to:
        if await ReadModelRebuilds(to.temporal, to.cluster).is_running():
            raise Refused("rebuild_running", "a rebuild runs: wait for its end, or cancel it in Temporal's UI")
        return await switching.revert(to.cluster.read_model, to.cluster.shards)


def retry(data_dir: DataDir = None) -> int:
    """Take once more what was parked, after its reason was mended: into the read model, and to the reactors of
    choreographed orders. Exit code 1 where something still is parked."""
    parked = run_async(_retry(load_settings(data_dir)))
    still = sum(parked.values())
    rows = [(shard, str(count)) for shard, count in parked.items()]
    told = Group("still parked:", table(("shard", "parked"), rows)) if still else "nothing is parked"
    output().result({"parked": parked}, told)
    return 1 if still else 0


async def _retry(settings: Settings) -> dict[str, int]:
    """By shard, how much is parked still."""
    async with connected(settings) as to:
        read_model = to.cluster.read_model
        async with read_model.transaction() as connection:
            versions = await existing(connection)
        parked = {}
        for name, shard in to.cluster.shards.items():
            aggregates = [await Projector(shard, read_model).retry_parked(version) for version in versions]
            async with shard.transaction() as connection:
                has_events = bool(await list_parked(connection, REACTORS, limit=1))
            # Without any, Temporal need not answer.
            events = await ReactorStarter(shard, await to.temporal()).retry_parked() if has_events else 0
            parked[name] = sum(aggregates) + events
        return parked
