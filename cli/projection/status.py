"""`projection status`. Its tables are also shown by `status` when events wait for too long."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType

from cli.terminal.application import call_app
from cli.terminal.options import DataDir
from cli.terminal.output import output, table
from shardwise.operations.events import ConsumerLag, EventsDocument, Parked, ShardEvents, consumer_name


def status(data_dir: DataDir = None) -> int:
    """Show how far the read model and the reactors are behind each shard, and why.

    events behind: written and not taken yet. for: how long the oldest of these waits. hidden: written, but not
    readable until an open transaction on the shard ends. in doubt: transactions that are prepared and not decided.

    Exit code 3 if a server does not answer, 1 if events wait for longer than SHARDWISE_LAG_ALARM_SECONDS or were
    parked, or if a shard or the read model was restored so that they do not fit any more.
    """
    found = call_app(data_dir, lambda app: app.operations.events())
    output().result(found, Group(*rendered(found)))
    if any(shard.error for shard in found.shards):
        return 3
    return 1 if found.alarm else 0


def rendered(found: EventsDocument) -> Sequence[RenderableType]:
    """For a person."""
    rows = [(shard.shard, *_row(shard, each)) for shard in found.shards for each in shard.consumers]
    parts: list[RenderableType] = [table(("shard", "consumer", "events behind", "for", "hidden", "in doubt"), rows)]
    parts += [f"{shard.shard}: {shard.error}" for shard in found.shards if shard.error]
    parts += found.alarms
    parked = [(shard.shard, each.consumer, _name(each), each.reason) for shard in found.shards for each in shard.parked]
    if parked:
        parts.append(table(("shard", "parked by", "what", "because"), parked, whole=("shard", "what")))
    return parts


def _row(shard: ShardEvents, lag: ConsumerLag) -> tuple[str, ...]:
    name = consumer_name(lag.consumer)
    waits = "history lost" if lag.history_lost else f"{lag.seconds:.1f} s" if lag.events else ""
    return name, str(lag.events), waits, str(shard.hidden_events or ""), str(len(shard.in_doubt) or "")


def _name(each: Parked) -> str:
    return f"{each.aggregate} {each.aggregate_id}, version {each.version}"
