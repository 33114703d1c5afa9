"""Leases by name, wherever their rows are: users' on the shard of the name's hash, the installation's in the
catalog."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy import text

from domain.errors import Busy, Refused, StaleRoute, Unreachable
from domain.leases import LeaseLost, MustWait, Wanted, is_of_the_installation, token_after_a_start
from shards.connections.concurrency import gather_all
from shards.connections.database import Database
from shards.connections.database_errors import DatabaseFailure
from shards.leases import lease_rows
from shards.leases.fence import Executes, read_fence
from shards.leases.lease_rows import Lease, LeaseState, NotVouched
from shards.routing.bulk_transaction import BulkTransaction
from shards.routing.router import Router
from shards.routing.shard_transaction import translating_errors

T = TypeVar("T")

# Who is next in the queue asks often, the others the less the further behind they are.
POLL_SECONDS = 0.02
POLL_SECONDS_MAX = 1.0
# Of the time that it has waited: who waits for hours asks seldom.
POLL_SHARE = 0.002
# A caller that is stopped inside a transaction on a lease's row holds it no longer than this, also where connections
# have no time limits.
_BOUNDED = text("SELECT set_config('transaction_timeout', '4s', true)")
TRANSIENT = (Unreachable, Busy, DatabaseFailure, StaleRoute)


class Leases:
    """The leases of one installation. Names and numbers are checked by the caller: see `domain.leases`."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._cluster = router.cluster

    async def acquire(self, name: str, wanted: Wanted) -> Lease:
        """Waits up to `wanted.wait_seconds` for its turn. Idempotent by holder: a repeat returns the same grant.

        `Refused` with `lease_held` if it is not granted in time, or as `domain.leases.decide` says; `Unreachable` if
        the lease's server is away, or, where it was started since the last grant, any that can have a fence. A caller
        that is cancelled gives up its place; one that dies loses it after `LAPSES_AFTER`.
        """
        ends = time.monotonic() + wanted.wait_seconds
        answer = await self._ask(name, wanted)
        if isinstance(answer, Lease):
            return answer
        if answer.ticket is None:
            raise held(name, answer)
        granted: Lease | None = None
        try:
            ahead = answer.ahead
            while (left := ends - time.monotonic()) > 0:
                often = max(POLL_SECONDS * max(ahead, 1), POLL_SHARE * (wanted.wait_seconds - left))
                await asyncio.sleep(min(left, POLL_SECONDS_MAX, often))
                with contextlib.suppress(*TRANSIENT):  # The place in the queue outlasts a short outage.
                    if ahead := await self._still_waits(name, wanted.holder):
                        continue
                    asked = await self._ask(name, wanted)
                    if isinstance(asked, Lease):
                        granted = asked
                        return granted
                    answer, ahead = asked, asked.ahead
        finally:
            if granted is None:
                await asyncio.shield(self._leave(name, wanted.holder))
        raise held(name, answer)

    async def renew(self, name: str, holder: str, token: int, seconds: float) -> Lease:
        """From now on it lasts `seconds`, unless it lasts longer already. Safe to repeat. A crash leaves it renewed or
        not. Raises `LeaseLost` if it is not held by this holder with this token, also if only its time is over."""
        renewed = await self._on(name, lambda tx: lease_rows.renew(tx, name, holder, token, seconds))
        if renewed is None:
            raise LeaseLost(f"{holder} does not hold the lease {name} with token {token}, or not any more")
        return renewed

    async def release(self, name: str, holder: str, token: int) -> LeaseState:
        """Ends the grant; the next waiter has its turn at once. Safe to repeat while nobody else has it. Never undone;
        a crash leaves it released or not. Raises `LeaseLost` if others hold it."""

        async def end(tx: Executes) -> tuple[bool, LeaseState]:
            return await lease_rows.release(tx, name, holder, token), await lease_rows.read(tx, name)

        released, state = await self._on(name, end)
        if not released and state.holders:
            others = ", ".join(each.holder for each in state.holders)
            raise LeaseLost(f"{holder} does not hold the lease {name} with token {token}: held by {others}")
        return state

    async def read(self, name: str) -> LeaseState:
        """As it is now. Changes nothing."""
        if is_of_the_installation(name):
            return await self._in_the_catalog(lambda tx: lease_rows.read(tx, name))
        return await self._router.read(lambda m: m.of_lease(name), lambda tx: lease_rows.read(tx, name))

    async def _ask(self, name: str, wanted: Wanted) -> Lease | MustWait:
        try:
            return await self._on(name, lambda tx: lease_rows.acquire(tx, name, wanted))
        except NotVouched as unvouched:
            # Not inside the transaction: reading takes as long as the slowest server.
            known = token_after_a_start(unvouched.token, await self._fences(name), unvouched.started)
            return await self._on(name, lambda tx: lease_rows.acquire(tx, name, wanted, known))

    async def _still_waits(self, name: str, holder: str) -> int:
        """Without the check of a write, since it changes nothing but the waiter's own row and decides nothing."""
        if is_of_the_installation(name):
            return await self._in_the_catalog(lambda tx: lease_rows.still_waits(tx, name, holder))
        return await self._router.read(lambda m: m.of_lease(name), lambda tx: lease_rows.still_waits(tx, name, holder))

    async def _fences(self, name: str) -> list[int]:
        """Of every server. `Unreachable` if one does not answer: it could have the highest."""

        async def read(database: Database) -> int:
            with translating_errors(database.name):
                async with database.transaction() as connection:
                    return await read_fence(BulkTransaction(connection, database.name), name)

        try:
            return await gather_all(read(each) for each in [*self._cluster.primaries.values(), self._cluster.catalog])
        except Unreachable as error:
            message = f"the lease {name} is not granted while a server that can have its fence is away: {error.message}"
            raise Unreachable("fence_unreachable", message) from error

    async def _leave(self, name: str, holder: str) -> None:
        try:
            await self._on(name, lambda tx: lease_rows.leave(tx, name, holder))
        except TRANSIENT:
            return  # It lapses by itself.

    async def _on(self, name: str, work: Callable[[Executes], Awaitable[T]]) -> T:
        if is_of_the_installation(name):
            return await self._in_the_catalog(work)
        return await self._router.write(lambda m: m.of_lease(name), work)

    async def _in_the_catalog(self, work: Callable[[Executes], Awaitable[T]]) -> T:
        with translating_errors("catalog"):
            async with self._cluster.catalog.transaction() as connection:
                await connection.execute(_BOUNDED)
                return await work(BulkTransaction(connection, "catalog"))


def held(name: str, answer: MustWait) -> Refused:
    return Refused("lease_held", f"the lease {name} is not free: {answer.why}", "name")
