"""The errors. Each has a `code`, which is stable and for programs, a `message`, a sentence, and a `field`, the input at
fault, if there is one.

    ShardwiseError        anything else that went wrong
    ├── InvalidInput      the caller must change something; nothing was changed
    ├── Refused           a business rule says no; nothing was changed
    │   ├── NotFound      there is no such order, transfer, account, product or customer
    │   ├── LeaseLost     the lease is over, or somebody else's
    │   └── SessionLost   what the session has seen is gone: a shard was restored or promoted without it
    ├── Unreachable       something needed does not answer, or not in time; what was begun goes on by itself
    │   └── NotAtPoint    servers answer, and none shows what the read demands, or not in time
    ├── Busy              all connections of this process to a server are in use
    └── NotMigrated       a server lacks the tables: `shardwise migrate`

`ShardwiseError` catches all of them. A command's exit code is the error's `exit_code`.
"""

from __future__ import annotations

from domain.errors import (
    Busy,
    InvalidInput,
    NotAtPoint,
    NotFound,
    NotMigrated,
    Refused,
    SessionLost,
    ShardwiseError,
    Unreachable,
)
from domain.leases import LeaseLost

__all__ = [
    "Busy",
    "InvalidInput",
    "LeaseLost",
    "NotAtPoint",
    "NotFound",
    "NotMigrated",
    "Refused",
    "SessionLost",
    "ShardwiseError",
    "Unreachable",
]
