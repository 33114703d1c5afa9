"""What to type if the embedded stack does not answer."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cli.terminal.output import output
from domain.errors import InvalidInput, Unreachable, first_of
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings, load_settings

_OF_THE_STACK = frozenset({"shard_unreachable", "temporal_unreachable"})


def command_as_typed() -> str:
    """How a shell finds this command: by its name, or by its path if `make` runs it."""
    if shutil.which("shardwise"):
        return "shardwise"
    return shlex.quote(str(Path(sys.executable).with_name("shardwise")))


@contextmanager
def hint_if_stack_is_down(settings: Settings) -> Iterator[None]:
    """An `Unreachable` raised in the block also says how to start the stack, if the embedded one was meant."""
    try:
        yield
    except (Unreachable, BaseExceptionGroup) as error:
        first = first_of(error)
        if settings.own_servers or not isinstance(first, Unreachable) or first.code not in _OF_THE_STACK:
            raise
        hinted = Unreachable(first.code, f"{first.message}; {hint(settings)}", first.field)
        hinted.shard = first.shard
        raise hinted from error


def print_start_hint(settings: Settings) -> None:
    """For a result that shows what is down, if it belongs to the embedded stack."""
    if not settings.own_servers:
        output().progress(hint(settings))


def hint(settings: Settings) -> str:
    """For the data directory's stack, as it is now."""
    folder = settings.data_dir.resolve()
    option = "" if _is_usual(settings.data_dir) else f" --data-dir {shlex.quote(str(settings.data_dir))}"
    up = f"`{command_as_typed()} up --detach{option}`"
    if EmbeddedStack(settings.data_dir, settings).running():
        return f"part of the stack in {folder} is down: {up} starts it"
    return f"the stack in {folder} is down: {up} starts it"


def _is_usual(data_dir: Path) -> bool:
    """Whether commands use it without the option: by the environment or by default."""
    with suppress(InvalidInput):
        return load_settings().data_dir == data_dir
    return False
