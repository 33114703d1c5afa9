"""The read model's versions: schemas of one database. Readers name `live`; what is behind the name can change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_EXISTING = text("SELECT nspname FROM pg_namespace WHERE nspname = ANY(:names)")

_REBUILD_IDS = text("""
    SELECT nspname AS name, obj_description(oid, 'pg_namespace') AS mark FROM pg_namespace WHERE nspname = ANY(:names)
""")


class Version(StrEnum):
    """In the order in which a relay serves them: what is to be switched to is never behind what is live.

    `RETIRED` was live before the last switch, and is kept, and kept up to date, until the switch is confirmed.
    """

    NEXT = "next"
    LIVE = "live"
    RETIRED = "retired"


async def existing(connection: AsyncConnection) -> Sequence[Version]:
    """Those that are there now."""
    rows = await connection.execute(_EXISTING, {"names": [version.value for version in Version]})
    found = set(rows.scalars())
    return [version for version in Version if version in found]


async def rebuild_ids(connection: AsyncConnection) -> Mapping[Version, str | None]:
    """The versions that are there, each with the id of the rebuild that made it; None where a migration did."""
    rows = await connection.execute(_REBUILD_IDS, {"names": [version.value for version in Version]})
    return {Version(row.name): row.mark for row in rows}
