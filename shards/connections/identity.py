"""Checks that a database is the shard that the settings say, and that we do not connect as a superuser."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import InvalidInput, NotMigrated
from shards.connections.forks import begin_fork

_ITS_NAME = text("""
    SELECT name, pg_is_in_recovery() AS in_recovery, coalesce((
        SELECT started_at = pg_postmaster_start_time() FROM shard_fork ORDER BY n DESC LIMIT 1
    ), false) AS has_fork
    FROM shard_identity
""")


async def assert_is_shard(connection: AsyncConnection, name: str, called: str | None = None) -> bool:
    """Raises `InvalidInput` if the database is another shard, `NotMigrated` if it has no name yet. `called`: what the
    settings call the server, if it is a replica of that shard.

    On a primary that has started since we were last connected, writes the row of its new fork. Returns whether the
    server is in recovery: it may yet be promoted, and then begins a fork.
    """
    found = (await connection.execute(_ITS_NAME)).one_or_none()
    if found is None:
        raise NotMigrated(f"{called or name} does not know its name")
    if found.name != name:
        message = f"the settings call a database {called or name} that is {found.name}: are their addresses swapped?"
        raise InvalidInput("shards", message)
    if not found.in_recovery and not found.has_fork:
        await begin_fork(connection)
        await connection.commit()
    return bool(found.in_recovery)


def superuser_refused(name: str) -> str:
    return (
        f"the role {name} is a superuser, and no worker or command runs as one: name another role in the addresses, "
        "and the owner in SHARDWISE_MIGRATION_USER; `shardwise migrate` then makes and grants it"
    )
