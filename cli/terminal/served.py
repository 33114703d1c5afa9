"""What served a command's reads, for programs and for a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from domain.consistency import Point, Points
from domain.wal_positions import lsn_text
from shardwise.reading import Served


def document(served: Sequence[Served]) -> dict[str, Any]:
    """`read` of a document with `--json`: the level, how long it waited, and each server with the point by shard."""
    servers: dict[str, tuple[bool, Points]] = {}
    for each in served:
        is_fit, points = servers.get(each.server, (True, Points()))
        servers[each.server] = is_fit and each.is_fit, points.merged(each.points)
    return {
        "level": served[-1].level,
        "waited_seconds": round(sum(each.waited_seconds for each in served), 4),
        "servers": [
            {"server": name, "fit": is_fit, "points": {shard: _point(point) for shard, point in points}}
            for name, (is_fit, points) in servers.items()
        ],
    }


def described(served: Sequence[Served]) -> str:
    names = ", ".join(dict.fromkeys(_name(each) for each in served))
    waited = sum(each.waited_seconds for each in served)
    return f"read from {names or 'no server'}, waited {waited * 1000:.0f} ms"


def _name(served: Served) -> str:
    name = served.server.replace("_", " ")
    return name if served.is_fit else f"{name} (left out of reads otherwise)"


def _point(point: Point) -> dict[str, Any]:
    """Transaction ids as text: they have more digits than some readers of JSON keep."""
    named = {"fork": point.fork, "lsn": lsn_text(point.lsn)}
    numbers = {"xmax": point.xmax, "event": point.event, "taken": point.taken}
    return named | {name: str(number) for name, number in numbers.items() if number}
