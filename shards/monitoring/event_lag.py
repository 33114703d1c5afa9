"""How far the read model and the reactors are behind each shard, and what holds them back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pydantic import Field

from domain.documents import Document
from domain.errors import Unreachable
from domain.in_doubt import InDoubt
from domain.timestamps import Timestamp
from shards.connections.cluster import Cluster
from shards.connections.concurrency import gather_all
from shards.connections.database import Database
from shards.outbox.cursors import REACTORS
from shards.outbox.lag import lag_of
from shards.outbox.marks import HistoryLost
from shards.outbox.parked_events import ParkedEvent, list_parked
from shards.projection.parked import ParkedAggregate, list_parked_aggregates
from shards.routing.map_agreement import disagreements
from shards.tables.versions import Version, existing
from shards.transfers.in_doubt import in_doubt_on


class ConsumerLag(Document):
    """`events` are written and not taken yet; `seconds` is the age of the oldest. `history_lost`: the shard or the read
    model was restored or replaced, so their histories differ, and nothing is taken any more."""

    consumer: str
    events: int
    seconds: float
    history_lost: bool = False


class InDoubtNow(Document):
    gid: str
    seconds: float


class Parked(Document):
    consumer: str
    aggregate: str
    aggregate_id: str
    version: int
    reason: str
    parked_at: Timestamp


class ShardEvents(Document):
    """`hidden_events` are written and cannot be read before an open transaction ends; `in_doubt` lists prepared
    transactions, which are such ones. `error` is set if this shard does not answer: then nothing else is known."""

    shard: str
    error: str | None = None
    consumers: list[ConsumerLag] = Field(default_factory=list)
    hidden_events: int = 0
    in_doubt: list[InDoubtNow] = Field(default_factory=list)
    parked: list[Parked] = Field(default_factory=list)

    @property
    def history_lost(self) -> bool:
        """Whether a version in use has lost the shard's history. The `retired` one does not count."""
        return any(each.history_lost for each in self.consumers if each.consumer != Version.RETIRED)

    def is_alarming(self, seconds_max: float) -> bool:
        late = any(each.seconds > seconds_max for each in self.consumers if not each.history_lost)
        return bool(self.parked) or late or self.history_lost


class EventsDocument(Document):
    """`versions`: those of the read model that exist; readers see `live`. `alarm`: somebody should look. `map`: for
    each shard that disagrees with the catalog about the shard map, a sentence with the command to run."""

    versions: list[str]
    alarm: bool
    shards: list[ShardEvents]
    map: list[str] = Field(default_factory=list)

    @property
    def alarms(self) -> list[str]:
        """What was restored or replaced, with the command to run."""
        return [*self.map, *(HistoryLost(shard.shard).message for shard in self.shards if shard.history_lost)]


async def events_document(cluster: Cluster, seconds_max: float) -> EventsDocument:
    """Raises `Unreachable` if the read model does not answer. A shard that does not answer is listed with its error."""
    async with cluster.read_model.transaction() as connection:
        versions = await existing(connection)
        aggregates = await list_parked_aggregates(connection)
    shards = await gather_all(
        _shard_events(shard, cluster.read_model, aggregates) for shard in cluster.primaries.values()
    )
    differ = []
    # With a server away the maps cannot be compared; its error is reported elsewhere.
    with suppress(Unreachable):
        differ = [each.message for each in await disagreements(cluster)]
    alarm = bool(differ) or any(each.is_alarming(seconds_max) for each in shards)
    return EventsDocument(versions=[each.value for each in versions], alarm=alarm, shards=shards, map=differ)


async def _shard_events(shard: Database, read_model: Database, aggregates: Sequence[ParkedAggregate]) -> ShardEvents:
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


def consumer_name(consumer: str) -> str:
    """The name shown to a person."""
    return "read model" if consumer == Version.LIVE else consumer
