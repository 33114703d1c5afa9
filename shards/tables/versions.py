"""The read model's versions, each a schema of one database. Readers name `live`; a switch gives another version that
name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_EXISTING = text("SELECT nspname FROM pg_namespace WHERE nspname = ANY(:names)")

_REBUILD_IDS = text("""
    SELECT nspname AS name, obj_description(oid, 'pg_namespace') AS rebuild_id
    FROM pg_namespace WHERE nspname = ANY(:names)
""")


class Version(StrEnum):
    """In the order in which a relay projects into them, so that `next` is never behind `live`.

    `RETIRED` was live before the last switch. It is kept, and kept up to date, until the switch is confirmed.
    """

    NEXT = "next"
    LIVE = "live"
    RETIRED = "retired"


async def existing(connection: AsyncConnection) -> Sequence[Version]:
    """The versions that exist now."""
    rows = await connection.execute(_EXISTING, {"names": [version.value for version in Version]})
    found = set(rows.scalars())
    return [version for version in Version if version in found]


async def rebuild_ids(connection: AsyncConnection) -> Mapping[Version, str | None]:
    """The versions that exist, each with the id of the rebuild that made it; None if a migration made it."""
    rows = await connection.execute(_REBUILD_IDS, {"names": [version.value for version in Version]})
    return {Version(row.name): row.rebuild_id for row in rows}
