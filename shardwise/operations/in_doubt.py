"""Transactions in doubt: ended by `recover`, shown by `status`."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from functools import partial

from activities.coordinators import coordinator_of
from domain.errors import InvalidInput
from domain.in_doubt import InDoubt, InDoubtReport
from shards.connections.database import Database
from shards.transfers.in_doubt import Sweep, in_doubt_on
from shardwise.connections import Connections
from stack.embedded.status import StackStatus
from stack.settings import Settings


async def resolve_in_doubt(to: Connections, dry_run: bool) -> InDoubtReport:
    """Does what `InDoubtSweeper` does every half minute, for young transactions too. `dry_run`: only reports it."""
    coordinator = partial(coordinator_of, await to.temporal())
    return await Sweep(to.router, coordinator, older_than_seconds=0, dry_run=dry_run).run()


async def overdue_in_doubt(settings: Settings, found: StackStatus) -> list[InDoubt]:
    """Transactions in doubt for longer than the setting allows, on the shards that are up."""
    in_doubt: list[InDoubt] = []
    async with AsyncExitStack() as closing:
        shards = [Database(server.name, server.dsn, pool_size=1) for server in found.shards if server.up]
        for shard in shards:
            closing.push_async_callback(shard.close)
        # A database that `up` has not made yet has none in doubt.
        with suppress(InvalidInput):
            in_doubt, _ = await in_doubt_on(shards)
    return [each for each in in_doubt if each.seconds > settings.in_doubt_alarm_seconds]
