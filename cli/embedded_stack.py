"""`up`, `down` and `status`: the embedded stack of one data directory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from cli import replicas as replicas_shown
from cli.projection import status as projection_status
from cli.recover.in_doubt import alarm
from cli.terminal.application import call_app, run_async
from cli.terminal.hints import print_start_hint
from cli.terminal.interrupts import Interrupts
from cli.terminal.options import DataDir
from cli.terminal.output import Output, output, table
from domain.errors import InvalidInput
from domain.timestamps import short_timestamp
from shardwise.operations.stack_status import OtherParts, look_at_other_parts, parts_document
from stack.embedded.record import REPLICAS_MAX, StackRecord
from stack.embedded.stack import EmbeddedStack
from stack.embedded.status import ServerStatus, StackStatus
from stack.settings import Settings, load_settings

WATCH_SECONDS = 1.0


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)
    app.command()(status)


# Of each shard of a new stack: they cost an order nothing that could be measured (docs/consistency.md).
REPLICAS = 1

ShowSecrets = Annotated[bool, typer.Option("--show-secrets", help="Whole addresses of the databases, with passwords.")]


def up(
    detach: Annotated[bool, typer.Option("--detach", help="Return when all is ready.")] = False,
    shards: Annotated[
        int | None, typer.Option(min=1, max=64, help="Postgres shards, fixed by the first start. [3]")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, max=64, help="Worker processes. [2]")] = None,
    replicas: Annotated[
        int | None, typer.Option(min=0, max=REPLICAS_MAX, help="Replicas of each shard, to read from. [1]")
    ] = None,
    show_secrets: ShowSecrets = False,
    data_dir: DataDir = None,
) -> int:
    """Start what is down: Postgres shards with their replicas, Temporal with its UI, workers.

    Stays until Ctrl-C and then stops everything, unless --detach is given or something of the stack ran already.
    """
    settings = _embedded_settings(data_dir)
    return run_async(_up(settings, UpOptions(shards, workers, detach, show_secrets, replicas), output()))


def down(data_dir: DataDir = None) -> None:
    """Stop everything. Data and running workflows stay."""
    out = output()
    settings = _embedded_settings(data_dir)
    done = run_async(EmbeddedStack(settings.data_dir, settings, out.progress).stop())
    out.result({"done": done}, "\n".join(done) or f"nothing of a stack in {settings.data_dir.resolve()} ran")


def status(show_secrets: ShowSecrets = False, data_dir: DataDir = None) -> int:
    """Ask every part whether it is up. Shows workers that were started by hand, too.

    Exit code 3 if one is not, 1 if a transaction is in doubt, or events wait, for too long. A replica that is down or
    left out of reads is shown, and changes no exit code: its primary answers for it.
    """
    _embedded_settings(data_dir)
    found = call_app(data_dir, lambda app: app.operations.status())
    parts = [
        table_of_parts(found.parts, found.other_parts, show_secrets),
        *([alarm(found.in_doubt)] if found.in_doubt else []),
    ]
    late = found.events if found.events is not None and found.events.alarm else None
    output().result(found.document(show_secrets), Group(*parts, *(projection_status.rendered(late) if late else [])))
    if not found.all_up or not all(each.up for each in found.parts.replicas):
        print_start_hint(load_settings(data_dir))
    if not found.all_up:
        return 3
    return 1 if found.alarm else 0


@dataclass(frozen=True)
class UpOptions:
    """`shards`, `workers` and `replicas` None: as before."""

    shards: int | None
    workers: int | None
    detach: bool
    show_secrets: bool = False
    replicas: int | None = None


def _embedded_settings(data_dir: DataDir) -> Settings:
    settings = load_settings(data_dir)
    if settings.own_servers:
        message = (
            "SHARDWISE_SHARDS names your own servers; this command is about the embedded stack: unset it, or use "
            "`shardwise watch`, which shows your own"
        )
        raise InvalidInput("SHARDWISE_SHARDS", message)
    return settings


async def _up(settings: Settings, options: UpOptions, out: Output) -> int:
    """All or nothing: an `up` that fails or is interrupted stops the stack again if it was not running before."""
    stack = EmbeddedStack(settings.data_dir, settings, out.progress)
    interrupts = Interrupts()
    found_running = True
    try:
        async with stack.exclusive():
            found_running = stack.running()
            if options.replicas is None and StackRecord.find(settings.data_dir) is None:
                options = replace(options, replicas=REPLICAS)
            done = await bring_up(stack, settings, options, out.progress)
            now = await stack.status()
            other_parts = await look_at_other_parts(settings, now)
    except BaseException:
        interrupts.clean_up()
        if not found_running:
            await stack.stop()
        if interrupted := interrupts.as_error():
            raise interrupted from None
        raise
    document = parts_document(now, other_parts, options.show_secrets)
    page = Group("\n".join(done) or "everything ran already", table_of_parts(now, other_parts, options.show_secrets))
    if not options.detach and not found_running:
        return await _stay(stack, out, document, page, interrupts)
    out.result(document, page)
    return 0 if now.all_up and other_parts.read_model.up else 3


async def bring_up(
    stack: EmbeddedStack, settings: Settings, options: UpOptions, say: Callable[[str], None], usual_ports: bool = True
) -> list[str]:
    """Servers, then the schema, then workers. Returns a line for each thing that was done."""
    from workers.migration.migrate import migrate

    done = await stack.start_servers(options.shards, usual_ports, options.replicas)
    await migrate(settings, say)
    return done + await stack.start_workers(options.workers)


async def _stay(
    stack: EmbeddedStack, out: Output, document: dict[str, Any], page: RenderableType, interrupts: Interrupts
) -> int:
    try:
        out.result(document, page)
        out.progress("Ctrl-C stops everything")
        while stack.running():  # noqa: ASYNC110 - another process ends it, and sends no event
            await asyncio.sleep(WATCH_SECONDS)
    except asyncio.CancelledError:
        await stack.stop()
    except BaseException:
        interrupts.clean_up()
        await stack.stop()
        raise
    else:
        out.progress("nothing of the stack runs any more")
    return 0


def table_of_parts(found: StackStatus, other_parts: OtherParts, show_secrets: bool = False) -> RenderableType:
    """The UI first. `show_secrets`: databases with user and password, as in their document."""
    rows = [
        ("Temporal UI", found.temporal.ui, "", _state(found.temporal.up)),
        ("Temporal", found.temporal.address, _pid(found.temporal.pid), _state(found.temporal.up)),
    ]
    rows += [_server_row(server, show_secrets) for server in [*found.shards, *found.replicas, found.catalog]]
    rows += other_parts.rows_of_read_model(show_secrets)
    rows += [(each.name, ", ".join(each.queues), _pid(each.pid), _state(each.up)) for each in found.workers]
    rows += other_parts.rows_of_workers()
    parts = table(("part", "where", "pid", "state"), rows, whole=("part", "where") if show_secrets else ())
    return Group(parts, *replicas_shown.rendered(other_parts.replicas)) if other_parts.replicas else parts


def _server_row(server: ServerStatus, show_secrets: bool) -> tuple[str, str, str, str]:
    where = server.dsn if show_secrets else server.dsn.rpartition("@")[2]
    if server.partitioned_until is not None:
        return server.name, where, _pid(server.pid), f"partitioned until {short_timestamp(server.partitioned_until)}"
    return server.name, where, _pid(server.pid), _state(server.up)


def _pid(pid: int | None) -> str:
    return "" if pid is None else str(pid)


def _state(up: bool) -> str:
    return "up" if up else "down"
