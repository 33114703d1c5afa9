"""Whether a replica knows the fork that it replays: its primary is asked once for each connection between the two.

After a start of the primary a replica replays positions of the new fork before the row that begins it. They are then
not of the fork that it names: a session would be stamped with a position that is lost, or, of a promoted primary, be
served without what it wrote. Being asked makes the primary write the row.
"""

from __future__ import annotations

import logging
import time

from domain.errors import ShardwiseError, Unreachable
from shards.connections.database_errors import DATABASE_ERRORS
from shards.connections.shard import Shard
from shards.connections.waiting import within
from shards.reading.facts import ReplicaLook, Stamp
from shards.reading.stamping import stamp

log = logging.getLogger("shardwise.reading")

ANSWER_SECONDS = 0.5
# Within this time after a primary's start workers connect to it, and so write the row of its fork.
SETTLED_SECONDS = 3.0
# How often a primary that does not answer is asked again, while there are reads: each waits for it.
ASK_SECONDS = 2.0


class Vouching:
    """Of one shard's primary, for this process."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        # By replica, the process that received the log when it was last vouched for: each connection has its own.
        self._vouched: dict[str, int] = {}
        self._in_vain_at: float | None = None

    async def knows_its_fork(self, replica: str, look: ReplicaLook) -> bool:
        """False where the replica does not, or where nobody knows: it has only just connected to its primary, and that
        does not answer us.

        A replica that receives nothing replays what it had before. One that has been connected for a while is trusted
        where we are cut off from the primary: workers are not, or they were the first to connect to it.
        """
        if look.facts is None or look.receiver is None or self._vouched.get(replica) == look.receiver:
            return True
        found = await self._ask()
        if found is None:
            return look.connected_seconds is not None and look.connected_seconds >= SETTLED_SECONDS
        if found.lineage.current != look.facts.lineage.current:
            return False
        self._vouched[replica] = look.receiver
        return True

    async def _ask(self) -> Stamp | None:
        """None if the primary does not answer, or did not a moment ago."""
        if self._in_vain_at is not None and time.monotonic() - self._in_vain_at < ASK_SECONDS:
            return None
        try:
            found = await within(self._stamp(), ANSWER_SECONDS)
        except (TimeoutError, ShardwiseError, *DATABASE_ERRORS) as error:
            log.debug("%s vouches for no replica", self._shard.name, exc_info=error)
            self._in_vain_at = time.monotonic()
            return None
        self._in_vain_at = None
        return found

    async def _stamp(self) -> Stamp:
        try:
            return await stamp(self._shard)
        except Unreachable:
            # A start of the primary has ended our connections, which the first to use one finds out.
            return await stamp(self._shard)
