"""What a replica and its primary say of themselves, from which `domain.replicas` judges whether it is fit."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import text

from domain.errors import ShardwiseError, Unreachable
from domain.replicas import ReplicaState
from shards.connections.database import Database
from shards.connections.database_errors import DATABASE_ERRORS
from shards.connections.replica import Replica
from shards.connections.waiting import within

# One that is frozen takes a connection, and says nothing.
ANSWER_SECONDS = 2.0

_POSITION = text("SELECT CAST(pg_current_wal_insert_lsn() - '0/0' AS bigint)")
# NULL where our role may not see it.
STREAMS = """
    CASE WHEN EXISTS (SELECT FROM pg_stat_wal_receiver)
         THEN (SELECT status = 'streaming' FROM pg_stat_wal_receiver) ELSE false END
"""

CONNECTED_SECONDS = """
    (SELECT CAST(extract(epoch FROM clock_timestamp() - backend_start) AS double precision)
     FROM pg_stat_get_activity((SELECT pid FROM pg_stat_wal_receiver)) WHERE backend_type = 'walreceiver')
"""
SENT = "(SELECT CAST(latest_end_lsn - '0/0' AS bigint) FROM pg_stat_wal_receiver)"

# A replica that has replayed all that it received was up to date when its primary last sent anything. Otherwise the
# transaction that it replayed last is as old as what it shows; at rest that says nothing. `>=` and not `=`: after a
# start it receives from the beginning of a segment on, which it has replayed already.
_STATE = text(f"""
    SELECT pg_is_in_recovery() AS in_recovery, {STREAMS} AS streams,
           CAST(pg_last_wal_replay_lsn() - '0/0' AS bigint) AS replayed, {SENT} AS sent,
           extract(epoch FROM clock_timestamp() - CASE
               WHEN pg_last_wal_replay_lsn() >= pg_last_wal_receive_lsn()
               THEN (SELECT last_msg_receipt_time FROM pg_stat_wal_receiver)
               ELSE pg_last_xact_replay_timestamp() END) AS seconds
""")


async def primary_position(primary: Database) -> int | None:
    """Up to where its log is written. None if it does not answer, or is no primary."""
    with suppress(ShardwiseError, TimeoutError, *DATABASE_ERRORS):
        return await within(_position(primary), ANSWER_SECONDS)
    return None


async def replica_state(replica: Replica) -> ReplicaState:
    """Raises `Unreachable`, and `InvalidInput` or `NotMigrated` if the server is not that shard's."""
    try:
        return await within(_state(replica.database), ANSWER_SECONDS)
    except TimeoutError as error:
        message = f"{replica.name} does not answer: no answer within {ANSWER_SECONDS:g} s"
        raise Unreachable("shard_unreachable", message) from error


async def _position(primary: Database) -> int:
    async with primary.transaction() as connection:
        return int((await connection.execute(_POSITION)).scalar_one())


async def _state(replica: Database) -> ReplicaState:
    async with replica.transaction() as connection:
        row = (await connection.execute(_STATE)).one()
    seconds = float(row.seconds) if row.seconds is not None else None
    return ReplicaState(row.in_recovery, row.streams, row.replayed, row.sent, seconds)
