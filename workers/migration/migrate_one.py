"""Upgrade one database, in a process of its own: `{"kind": …, "dsn": …}` on stdin, the error on stderr.

On stdin because a command line shows the password to everybody on the machine. A kill leaves the database as it was.
"""

from __future__ import annotations

import asyncio
import json
import sys

from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from shards.connections.tls import driver_arguments
from workers.migration.schema import Kind, upgrade

CONNECT_SECONDS = 10.0
# Also limits the wait for another migration: after this time it is an error.
LOCK_TIMEOUT = "60s"


async def _upgrade(kind: Kind, dsn: str) -> None:
    to = driver_arguments(dsn)
    engine = create_async_engine(
        to.dsn,
        poolclass=NullPool,
        connect_args={
            "timeout": CONNECT_SECONDS,
            "server_settings": {"application_name": "shardwise migrate", "lock_timeout": LOCK_TIMEOUT},
            **to.arguments,
        },
    )
    async with engine.connect() as connection:
        await connection.run_sync(upgrade, kind)


def main() -> int:
    request = json.load(sys.stdin)
    try:
        asyncio.run(_upgrade(Kind(request["kind"]), request["dsn"]))
    except (DBAPIError, CommandError, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        print(str(cause or error).splitlines()[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
