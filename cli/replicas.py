"""The replicas in `status` and `watch`. Nothing is shown where there are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from cli.terminal.output import table
from domain.text import on_one_line
from shardwise.operations.replicas import ReplicaDocument

_COLUMNS = ("replica", "behind", "weight", "reads")
_UNKNOWN = "?"


def rendered(replicas: Sequence[ReplicaDocument]) -> Iterator[RenderableType]:
    """A table, and below it a line for each one that is left out: a warning, and no alarm."""
    if replicas:
        rows = [(each.name, _behind(each), str(each.weight), "fit" if each.fit else "left out") for each in replicas]
        yield table(_COLUMNS, rows)
    for each in replicas:
        if each.why is not None:
            why = each.why if each.why.startswith(f"{each.name} ") else f"{each.name}: {each.why}"
            yield Text(on_one_line(f"left out of reads: {why}"), style="yellow")


def _behind(replica: ReplicaDocument) -> str:
    if replica.lag_bytes is None:
        return _UNKNOWN
    seconds = f", {replica.lag_seconds:.1f} s" if replica.lag_seconds is not None else ""
    return f"{replica.lag_bytes:,} bytes{seconds}"
