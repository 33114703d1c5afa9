"""The rows that say which forks a shard's history has had: see `domain.histories`.

Every start of a primary begins a fork. From inside, a server that was restored from an older copy, or promoted, looks
like one that was only started again: its numbers say nothing about what was lost. Where nothing was, the fork begins
where the one before ended, and everything that a session holds carries over.

The row is written by the first of our connections to a primary that has started (`shards.connections.identity`). A
start ends all connections, so nothing of ours is ever written in a fork that has no row yet, and replicas replay the
row before anything that comes after it.
"""

from __future__ import annotations

import json
from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.histories import Fork, Lineage

# A record of 120 bytes; where it does not fit on its page of 8 KiB, the next page's header comes in between.
_END_OF_CHECKPOINT = """
    checkpoint_lsn - '0/0' + 120 + CASE WHEN (checkpoint_lsn - '0/0') % 8192 > 8192 - 120 THEN 24 ELSE 0 END
"""

# Where the server's log ended when it started. After a recovery, and after a promotion, Postgres remembers it. After a
# clean shutdown that is the end of the last checkpoint's record, which replicas have replayed too, unless there was
# another one since: only one of a shutdown has no log between its two positions. Where nobody knows, it is where the
# fork before began: sessions above that are lost, which is safe.
_BEGIN = text(f"""
    INSERT INTO shard_fork (id, began, started_at)
    SELECT gen_random_uuid(),
           CASE WHEN pg_last_wal_replay_lsn() IS NOT NULL THEN pg_last_wal_replay_lsn() - '0/0'
                WHEN redo_lsn = checkpoint_lsn THEN {_END_OF_CHECKPOINT}
                ELSE coalesce((SELECT max(began) FROM shard_fork), 0) END,
           pg_postmaster_start_time()
    FROM pg_control_checkpoint() ON CONFLICT (started_at) DO NOTHING
""")

# Of the fork that is written now; for statements that also ask other things.
CURRENT_FORK = "(SELECT CAST(id AS text) FROM shard_fork ORDER BY n DESC LIMIT 1)"

# The forks from the oldest of `:forks` on, or else the newest alone, as JSON. For statements that also ask other
# things; bind `forks` to `held_forks(…)`, and read the result with `lineage_of`.
LINEAGE = """
    (SELECT json_agg(json_build_array(id, began) ORDER BY n) FROM shard_fork
     WHERE n >= coalesce((SELECT min(n) FROM shard_fork WHERE id = ANY(CAST(:forks AS uuid[]))),
                         (SELECT max(n) FROM shard_fork)))
"""


# Where a primary's log ends, for whom it was asked from: everything committed before lies below, also by others. It has
# been flushed, so that it survives a crash of the server, unless commits do not wait for that.
END_OF_LOG = """
    CAST(CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn()
              ELSE pg_current_wal_flush_lsn() END - '0/0' AS bigint)
"""

# The newest forks, for readers that keep their position in another database. A session whose fork is older is told that
# it is lost.
_NEWEST = 64
NEWEST_FORKS = f"""
    (SELECT json_agg(json_build_array(id, began) ORDER BY n)
     FROM (SELECT * FROM shard_fork ORDER BY n DESC LIMIT {_NEWEST}) AS newest)
"""


async def begin_fork(connection: AsyncConnection) -> None:
    """Writes the row of the fork that began when this primary started. Idempotent. A crash leaves it there or not."""
    await connection.execute(_BEGIN)


def held_forks(forks: Collection[str]) -> list[str]:
    return sorted(filter(None, forks))


def lineage_of(found: object) -> Lineage:
    """What `LINEAGE` selected."""
    rows = json.loads(found) if isinstance(found, str) else found
    assert isinstance(rows, list)
    return Lineage([Fork(str(fork), int(began)) for fork, began in rows])
