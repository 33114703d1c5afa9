"""`projection status`, and what else tells of events that wait."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType

from cli.terminal.asking import ask
from cli.terminal.common import DataDir
from cli.terminal.output import output, table
from shardwise.operations.events import ConsumerLag, EventsDocument, Parked, ShardEvents, consumer_name


def status(data_dir: DataDir = None) -> int:
    """Tell how far the read model and the reactors are behind each shard, and why.

    events behind: written and not taken yet. for: how long the oldest of these waits. hidden: written, and not to be
    read before a transaction ends that is open on the shard. in doubt: transactions that are prepared and not decided.

    Exit code 3 where a server does not answer, 1 where events wait for longer than SHARDWISE_LAG_ALARM_SECONDS or were
    parked, or where a shard or the read model was restored so that they do not fit any more.
    """
    found = ask(data_dir, lambda app: app.operations.events())
    output().result(found, Group(*told(found)))
    if any(shard.error for shard in found.shards):
        return 3
    return 1 if found.alarm else 0


def told(found: EventsDocument) -> Sequence[RenderableType]:
    """For a person; also what `status` shows where there is an alarm."""
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
