"""What to type where the embedded stack does not answer."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cli.terminal.common import command_as_typed
from cli.terminal.output import output
from domain.errors import InvalidInput, Unreachable, first_of
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings, load_settings

_OF_THE_STACK = frozenset({"shard_unreachable", "temporal_unreachable"})


@contextmanager
def hinting_at_up(settings: Settings) -> Iterator[None]:
    """`Unreachable` that leaves the block says how the stack is started, where the embedded one was meant."""
    try:
        yield
    except (Unreachable, BaseExceptionGroup) as error:
        first = first_of(error)
        if settings.own_servers or not isinstance(first, Unreachable) or first.code not in _OF_THE_STACK:
            raise
        hinted = Unreachable(first.code, f"{first.message}; {hint(settings)}", first.field)
        hinted.shard = first.shard
        raise hinted from error


def tell_how_to_start(settings: Settings) -> None:
    """Beside a result that shows what is down, where it is the embedded stack's."""
    if not settings.own_servers:
        output().progress(hint(settings))


def hint(settings: Settings) -> str:
    """Of the stack of the data directory, as it is now."""
    folder = settings.data_dir.resolve()
    option = "" if _is_usual(settings.data_dir) else f" --data-dir {shlex.quote(str(settings.data_dir))}"
    up = f"`{command_as_typed()} up --detach{option}`"
    if EmbeddedStack(settings.data_dir, settings).running():
        return f"part of the stack in {folder} is down: {up} starts it"
    return f"the stack in {folder} is down: {up} starts it"


def _is_usual(data_dir: Path) -> bool:
    """Whether the environment names it, or nothing does: then no option has to."""
    with suppress(InvalidInput):
        return load_settings().data_dir == data_dir
    return False
