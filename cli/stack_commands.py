"""`up`, `down` and `status`: the embedded stack of one data directory."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from cli.common import DataDir, run_async
from cli.output import Output, output, table
from domain.errors import InvalidInput
from stack.embedded.stack import EmbeddedStack
from stack.embedded.status import ServerStatus, StackStatus
from stack.settings import Settings, load_settings

WATCH_SECONDS = 1.0


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)
    app.command()(status)


def up(
    detach: Annotated[bool, typer.Option("--detach", help="Return when all is ready.")] = False,
    shards: Annotated[
        int | None, typer.Option(min=1, max=64, help="Postgres shards, fixed by the first start. [3]")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, max=64, help="Worker processes. [2]")] = None,
    data_dir: DataDir = None,
) -> int:
    """Start what is down: Postgres shards, Temporal with its UI, workers.

    Stays until Ctrl-C and then stops everything, unless --detach is given or something of the stack ran already.
    """
    settings = _embedded_settings(data_dir)
    return run_async(_up(settings, Wanted(shards, workers, detach), output()))


def down(data_dir: DataDir = None) -> None:
    """Stop everything. Data and running workflows stay."""
    out = output()
    settings = _embedded_settings(data_dir)
    done = run_async(EmbeddedStack(settings.data_dir, settings, out.progress).stop())
    out.result({"done": done}, "\n".join(done) or "nothing ran")


def status(data_dir: DataDir = None) -> int:
    """Ask every part whether it is up. Exit code 3 when one is not."""
    settings = _embedded_settings(data_dir)
    found = run_async(EmbeddedStack(settings.data_dir, settings).status())
    output().result(found, what_runs_where(found))
    return 0 if found.all_up else 3


@dataclass(frozen=True)
class Wanted:
    """None: as before."""

    shards: int | None
    workers: int | None
    detach: bool


def _embedded_settings(data_dir: DataDir) -> Settings:
    settings = load_settings(data_dir)
    if settings.own_servers:
        message = "SHARDWISE_SHARDS names your own servers; this command is about the embedded stack: unset it"
        raise InvalidInput("SHARDWISE_SHARDS", message)
    return settings


async def _up(settings: Settings, wanted: Wanted, out: Output) -> int:
    stack = EmbeddedStack(settings.data_dir, settings, out.progress)
    _let_termination_interrupt()
    found_running = True
    try:
        async with stack.exclusive():
            found_running = stack.running()
            done = await bring_up(stack, settings, wanted, out.progress)
            now = await stack.status()
        out.result(now, _report(done, now))
    except BaseException:
        if not found_running:
            await stack.stop()
        raise
    if wanted.detach or found_running:
        return 0 if now.all_up else 3
    return await _stay(stack, out)


async def bring_up(
    stack: EmbeddedStack, settings: Settings, wanted: Wanted, say: Callable[[str], None], usual_ports: bool = True
) -> list[str]:
    """Servers, then the schema, then workers; what was done."""
    from workers.migrate import migrate

    done = await stack.start_servers(wanted.shards, usual_ports)
    await migrate(settings, say)
    return done + await stack.start_workers(wanted.workers)


async def _stay(stack: EmbeddedStack, out: Output) -> int:
    out.progress("Ctrl-C stops everything")
    try:
        while stack.running():  # noqa: ASYNC110 - another process ends it, without telling us
            await asyncio.sleep(WATCH_SECONDS)
    except asyncio.CancelledError:
        await stack.stop()
    else:
        out.progress("stopped from elsewhere")
    return 0


def _let_termination_interrupt() -> None:
    """SIGTERM does what Ctrl-C does, so that a stack never outlives a foreground `up` that was asked to end."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def what_runs_where(found: StackStatus) -> RenderableType:
    """The UI first. Passwords are in `--json` only."""
    rows = [
        ("Temporal UI", found.temporal.ui, "", _state(found.temporal.up)),
        ("Temporal", found.temporal.address, _pid(found.temporal.pid), _state(found.temporal.up)),
    ]
    rows += [_server_row(server) for server in [*found.shards, found.catalog]]
    rows += [(each.name, ", ".join(each.queues), _pid(each.pid), _state(each.up)) for each in found.workers]
    return table(("part", "where", "pid", "state"), rows)


def _report(done: list[str], now: StackStatus) -> RenderableType:
    return Group("\n".join(done) or "everything ran already", what_runs_where(now))


def _server_row(server: ServerStatus) -> tuple[str, str, str, str]:
    return server.name, server.dsn.rpartition("@")[2], _pid(server.pid), _state(server.up)


def _pid(pid: int | None) -> str:
    return "" if pid is None else str(pid)


def _state(up: bool) -> str:
    return "up" if up else "down"
