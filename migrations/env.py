"""Alembic's environment: runs the revisions of one database.

The caller gives the connection as `config.attributes["connection"]`, outside any transaction. All revisions and the
version row are one transaction, begun under an advisory lock: if two migrations run at once, the second waits and then
finds nothing to do. A crash leaves the database as it was.

Revisions spell out what they create and import no table definitions: a revision must not change when a table does. A
test checks that both agree.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, func, select

# An arbitrary number that nothing else locks in these databases.
ONE_AT_A_TIME = 0x5348_4152_4457_4953


def run(connection: Connection) -> None:
    context.configure(connection=connection)
    with context.begin_transaction():
        connection.execute(select(func.pg_advisory_xact_lock(ONE_AT_A_TIME)))
        context.run_migrations()


run(context.config.attributes["connection"])
