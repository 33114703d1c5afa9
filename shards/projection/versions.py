"""The read model's versions: schemas of one database. Readers name `live`; what is behind the name can change."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_EXISTING = text("SELECT nspname FROM pg_namespace WHERE nspname = ANY(:names)")


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
