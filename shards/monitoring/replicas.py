"""How each replica does: whether it streams, how far it is behind, and whether it is read from."""

from __future__ import annotations

from domain.documents import Document
from domain.errors import InvalidInput, NotMigrated, ShardwiseError
from domain.replicas import LeftOut, ReplicaState, lag_bytes, why_left_out
from shards.connections.cluster import Cluster
from shards.connections.concurrency import gather_all
from shards.connections.replica import Replica
from shards.connections.replica_state import primary_position, replica_state
from shards.connections.shard import Shard

_SENTENCES = {
    LeftOut.NOT_IN_RECOVERY: "it is no replica: it takes writes of its own",
    LeftOut.NOT_VISIBLE: "whether it streams is hidden from our role: GRANT pg_read_all_stats to it, as a superuser",
    LeftOut.NOT_STREAMING: "it does not stream from its primary",
    LeftOut.LAG_UNKNOWN: "how far it is behind is not known: its primary does not answer, and has sent it nothing",
    LeftOut.LAGGING: "it is further behind than SHARDWISE_REPLICA_LAG_BYTES_MAX allows",
}


class ReplicaDocument(Document):
    """`fit`: it streams, and is not too far behind. Otherwise it is left out of reads: `left_out` is the reason for
    programs, `why` for a person. `streaming`, `lag_bytes` and `lag_seconds` are null where they are not known;
    `lag_seconds`, how long ago it was up to date, also while it does not stream."""

    name: str
    shard: str
    weight: int
    fit: bool
    left_out: LeftOut | None
    why: str | None
    streaming: bool | None
    lag_bytes: int | None
    lag_seconds: float | None


async def replica_documents(cluster: Cluster, lag_bytes_max: int) -> list[ReplicaDocument]:
    """All replicas, in the order of their shards. Asks all servers at once, and raises nothing: one that does not
    answer within seconds is left out. Changes nothing."""
    found = await gather_all(_of_shard(shard, lag_bytes_max) for shard in cluster.shards.values() if shard.replicas)
    return [each for of_shard in found for each in of_shard]


async def _of_shard(shard: Shard, lag_bytes_max: int) -> list[ReplicaDocument]:
    # Before the replicas: what is written in between is not what they are behind by.
    position = await primary_position(shard.primary)
    return await gather_all(_of_replica(replica, position, lag_bytes_max) for replica in shard.replicas)


async def _of_replica(replica: Replica, position: int | None, lag_bytes_max: int) -> ReplicaDocument:
    try:
        state = await replica_state(replica)
    except ShardwiseError as error:
        # Other attempts may wait for one that is frozen, and hold all connections to it.
        is_other = isinstance(error, InvalidInput | NotMigrated)
        reason = LeftOut.OTHER_SERVER if is_other else LeftOut.UNREACHABLE
        return _document(replica, reason, error.message)
    behind, written = None, position if position is not None else state.sent
    if written is not None and state.in_recovery and state.replayed is not None:
        behind = lag_bytes(written, state.replayed)
    left_out = why_left_out(state, behind, lag_bytes_max)
    return _document(replica, left_out, _SENTENCES.get(left_out) if left_out else None, state, behind)


def _document(
    replica: Replica,
    left_out: LeftOut | None,
    why: str | None,
    state: ReplicaState | None = None,
    behind: int | None = None,
) -> ReplicaDocument:
    seconds = 0.0 if behind == 0 else state.seconds if state else None
    return ReplicaDocument(
        name=replica.name,
        shard=replica.shard,
        weight=replica.weight,
        fit=left_out is None,
        left_out=left_out,
        why=why,
        streaming=state.streams if state else None,
        lag_bytes=behind,
        lag_seconds=round(seconds, 3) if state and state.streams and seconds is not None else None,
    )
