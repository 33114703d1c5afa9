"""What Alembic runs around the revisions of one database.

The caller gives the connection as `config.attributes["connection"]`, outside any transaction. All revisions and the
version row are one transaction, begun under an advisory lock: of two migrations at once the second waits, then finds
nothing to do. A crash leaves the database as it was.

Revisions say in full what they make and import no table definitions: a revision must not change when a table does.
That both agree is tested.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, func, select

# Any number that nobody else locks in these databases.
ONE_AT_A_TIME = 0x5348_4152_4457_4953


def run(connection: Connection) -> None:
    context.configure(connection=connection)
    with context.begin_transaction():
        connection.execute(select(func.pg_advisory_xact_lock(ONE_AT_A_TIME)))
        context.run_migrations()


run(context.config.attributes["connection"])
