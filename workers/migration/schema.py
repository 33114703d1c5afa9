"""Which schema a database has, which it should have, and one upgrade to it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from shards.connections.database import Database

_TABLE = text("SELECT to_regclass('alembic_version') IS NOT NULL")
_REVISION = text("SELECT version_num FROM alembic_version")


class Kind(StrEnum):
    """The labelled bases of `migrations`."""

    SHARD = "shard"
    CATALOG = "catalog"
    READ_MODEL = "read_model"


@dataclass(frozen=True)
class History:
    """The revisions of one kind of database that this release knows."""

    head: str
    known: frozenset[str]


@cache
def history_of(kind: Kind) -> History:
    scripts = ScriptDirectory.from_config(alembic_config(kind))
    known = [script.revision for script in scripts.walk_revisions()]
    return History(head=known[0], known=frozenset(known))


async def current_revision(database: Database) -> str | None:
    """None for an empty database."""
    async with database.transaction() as connection:
        if not await connection.scalar(_TABLE):
            return None
        revision: str | None = await connection.scalar(_REVISION)
        return revision


def upgrade(connection: Connection, kind: Kind) -> None:
    """Upgrades the database to its kind's head, in one transaction; see migrations/env.py. Safe to repeat.

    One at a time in a process, since Alembic's operations are global there.
    """
    config = alembic_config(kind)
    config.attributes["connection"] = connection
    command.upgrade(config, f"{kind}@head")


def alembic_config(kind: Kind) -> Config:
    """For Alembic's own commands; the ones that reach a database want `attributes["connection"]`."""
    config = Config()
    config.set_main_option("script_location", "migrations:")
    # Only its own kind's revisions: Alembic then refuses a database that holds another kind's tables.
    config.set_main_option("version_locations", f"migrations:{kind}")
    config.set_main_option("path_separator", "newline")
    return config
