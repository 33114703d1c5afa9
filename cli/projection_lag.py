"""How far the read model and the reactors are behind each shard, and what holds them back: `projection status`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pydantic import BaseModel
from rich.console import Group, RenderableType

from cli.common import DataDir, run_async
from cli.connections import connected
from cli.output import output, table
from domain.errors import Unreachable
from domain.in_doubt import InDoubt
from domain.timestamps import Timestamp
from shards.engines import Cluster, Database
from shards.history import HistoryLost
from shards.in_doubt import in_doubt_on
from shards.map_agreement import disagreements
from shards.outbox_cursors import REACTORS, ParkedEvent, list_parked
from shards.outbox_lag import lag_of
from shards.projection.parked import ParkedAggregate, list_parked_aggregates
from shards.projection.versions import Version, existing
from shards.side_by_side import all_ended
from stack.settings import Settings, load_settings


class ConsumerLag(BaseModel):
    """`events` written and not taken yet; `seconds` since the oldest of them. `history_lost`: since the shard or the
    read model was restored or replaced, the two are of different histories, and nothing is taken any more."""

    consumer: str
    events: int
    seconds: float
    history_lost: bool = False


class InDoubtNow(BaseModel):
    gid: str
    seconds: float


class Parked(BaseModel):
    consumer: str
    aggregate: str
    aggregate_id: str
    version: int
    reason: str
    parked_at: Timestamp


class ShardEvents(BaseModel):
    """`hidden_events` are written and cannot be read before an open transaction ends; `in_doubt` are such ones.
    `error` where this shard does not answer: then nothing else is known."""

    shard: str
    error: str | None = None
    consumers: list[ConsumerLag] = []
    hidden_events: int = 0
    in_doubt: list[InDoubtNow] = []
    parked: list[Parked] = []

    @property
    def history_lost(self) -> bool:
        """What is kept from before the last switch can stay as it is."""
        return any(each.history_lost for each in self.consumers if each.consumer != Version.RETIRED)

    def is_alarming(self, seconds_max: float) -> bool:
        late = any(each.seconds > seconds_max for each in self.consumers if not each.history_lost)
        return bool(self.parked) or late or self.history_lost


class EventsDocument(BaseModel):
    """`versions` of the read model that there are; readers see `live`. `alarm`: somebody should look. `map`: where the
    catalog and a shard do not agree on the shard map, a sentence for each, with what to type."""

    versions: list[str]
    alarm: bool
    shards: list[ShardEvents]
    map: list[str] = []

    @property
    def alarms(self) -> list[str]:
        """What was restored or replaced, with what to type."""
        return [*self.map, *(HistoryLost(shard.shard).message for shard in self.shards if shard.history_lost)]


def status(data_dir: DataDir = None) -> int:
    """Tell how far the read model and the reactors are behind each shard, and why.

    events behind: written and not taken yet. for: how long the oldest of these waits. hidden: written, and not to be
    read before a transaction ends that is open on the shard. in doubt: transactions that are prepared and not decided.

    Exit code 3 where a server does not answer, 1 where events wait for longer than SHARDWISE_LAG_ALARM_SECONDS or were
    parked, or where a shard or the read model was restored so that they do not fit any more.
    """
    found = run_async(_status(load_settings(data_dir)))
    output().result(found, Group(*told(found)))
    if any(shard.error for shard in found.shards):
        return 3
    return 1 if found.alarm else 0


async def _status(settings: Settings) -> EventsDocument:
    async with connected(settings) as to:
        return await events_document(to.cluster, settings.lag_alarm_seconds)


async def events_document(cluster: Cluster, seconds_max: float) -> EventsDocument:
    """`Unreachable` where the read model does not answer. A shard that does not is told with its error."""
    async with cluster.read_model.transaction() as connection:
        versions = await existing(connection)
        aggregates = await list_parked_aggregates(connection)
    shards = await all_ended(_ask(shard, cluster.read_model, aggregates) for shard in cluster.shards.values())
    differ = []
    # With one of them away nothing can be said, and that is told already.
    with suppress(Unreachable):
        differ = [each.message for each in await disagreements(cluster)]
    alarm = bool(differ) or any(each.is_alarming(seconds_max) for each in shards)
    return EventsDocument(versions=[each.value for each in versions], alarm=alarm, shards=shards, map=differ)


async def _ask(shard: Database, read_model: Database, aggregates: Sequence[ParkedAggregate]) -> ShardEvents:
    try:
        lag = await lag_of(shard, read_model)
        in_doubt, _ = await in_doubt_on([shard])
        async with shard.transaction() as connection:
            events = await list_parked(connection, REACTORS)
    except Unreachable as error:
        return ShardEvents(shard=shard.name, error=error.message)
    return ShardEvents(
        shard=shard.name,
        consumers=[
            ConsumerLag(consumer=name, events=each.events, seconds=round(each.seconds, 3), history_lost=each.is_lost)
            for name, each in lag.by_consumer.items()
        ],
        hidden_events=lag.hidden_events,
        in_doubt=[_in_doubt(each) for each in in_doubt],
        parked=[
            *(_parked(Version.LIVE.value, each) for each in aggregates if each.shard == shard.name),
            *(_parked(REACTORS, each) for each in events),
        ],
    )


def _in_doubt(each: InDoubt) -> InDoubtNow:
    return InDoubtNow(gid=each.gid, seconds=round(each.seconds, 3))


def _parked(consumer: str, each: ParkedAggregate | ParkedEvent) -> Parked:
    return Parked(
        consumer=consumer,
        aggregate=each.aggregate,
        aggregate_id=each.aggregate_id,
        version=each.version,
        reason=each.reason,
        parked_at=each.parked_at,
    )


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


def consumer_name(consumer: str) -> str:
    """As a person calls it."""
    return "read model" if consumer == Version.LIVE else consumer


def _name(each: Parked) -> str:
    return f"{each.aggregate} {each.aggregate_id}, version {each.version}"
