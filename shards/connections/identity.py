"""Is a database the one that the settings take it for, and are we there who we may be?"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import InvalidInput, NotMigrated

_ITS_NAME = text("SELECT name FROM shard_identity")


async def assert_is_shard(connection: AsyncConnection, name: str) -> None:
    """`InvalidInput` where the database is a shard of another name, `NotMigrated` where it has none yet."""
    found = await connection.scalar(_ITS_NAME)
    if found is None:
        raise NotMigrated(f"{name} does not know its name")
    if found != name:
        message = f"the settings call a database {name} that is {found}: are their addresses swapped?"
        raise InvalidInput("shards", message)


def superuser_refused(name: str) -> str:
    return (
        f"the role {name} is a superuser, as whom no worker and no command runs: name another role in the addresses, "
        "and the owner in SHARDWISE_MIGRATION_USER; `shardwise migrate` then makes and grants it"
    )
