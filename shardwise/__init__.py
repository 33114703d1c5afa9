"""shardwise for programs: orders, transfers, accounts, the catalogue, queries and operations. See `Shardwise`."""

from __future__ import annotations

from shardwise.application import Shardwise
from shardwise.errors import (
    Busy,
    InvalidInput,
    LeaseLost,
    NotAtPoint,
    NotFound,
    NotMigrated,
    Refused,
    SessionLost,
    ShardwiseError,
    Unreachable,
)
from shardwise.reading import Level
from shardwise.sessions import Session

__all__ = [
    "Busy",
    "InvalidInput",
    "LeaseLost",
    "Level",
    "NotAtPoint",
    "NotFound",
    "NotMigrated",
    "Refused",
    "Session",
    "SessionLost",
    "Shardwise",
    "ShardwiseError",
    "Unreachable",
]
