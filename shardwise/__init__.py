"""shardwise for programs: orders, transfers, accounts, the catalogue, queries and operations. See `Shardwise`."""

from __future__ import annotations

from shardwise.application import Shardwise
from shardwise.errors import Busy, InvalidInput, NotFound, NotMigrated, Refused, ShardwiseError, Unreachable

__all__ = [
    "Busy",
    "InvalidInput",
    "NotFound",
    "NotMigrated",
    "Refused",
    "Shardwise",
    "ShardwiseError",
    "Unreachable",
]
