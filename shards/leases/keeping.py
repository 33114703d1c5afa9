"""A lease for as long as a block runs: acquired, renewed in the background, released."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from domain.errors import ShardwiseError
from domain.leases import LeaseLost, Wanted
from shards.leases.lease_rows import Lease
from shards.leases.leases import TRANSIENT, Leases

# Of its time: two renewals may fail before it is over.
_RENEW_AFTER = 1 / 3
_TRY_AGAIN_AFTER = 1 / 20


@dataclass(frozen=True, slots=True)
class HeldLease:
    """`token` is what every protected write proves with. It stays the same while the block runs."""

    name: str
    holder: str
    token: int


@asynccontextmanager
async def held_lease(leases: Leases, name: str, wanted: Wanted) -> AsyncIterator[HeldLease]:
    """Holds the lease while the block runs, and releases it. Raises as `Leases.acquire`.

    If it cannot be renewed in time, the block is cancelled and `LeaseLost` is raised. That is a courtesy and no
    protection: a process that is stopped cancels nothing. What protects is the token, compared at the write. A crash
    leaves the lease held until its time is over.
    """
    loop = asyncio.get_running_loop()
    # Before it is asked for, so that it is over here no later than by the database's clock.
    asked_at = loop.time()
    lease = await leases.acquire(name, wanted)
    if wanted.wait_seconds:
        asked_at = loop.time()
        lease = await leases.renew(name, lease.holder, lease.token, wanted.seconds)
    is_over: asyncio.Timeout | None = None
    try:
        async with asyncio.timeout_at(asked_at + wanted.seconds) as is_over:
            renewing = asyncio.create_task(_renew(leases, lease, wanted.seconds, is_over))
            try:
                yield HeldLease(lease.name, lease.holder, lease.token)
            finally:
                renewing.cancel()
                await asyncio.wait([renewing])
    except BaseException as error:
        with contextlib.suppress(ShardwiseError):
            await asyncio.shield(leases.release(name, lease.holder, lease.token))
        # Where a server has ended a transaction of a holder that was stopped, that is the first that it hears of it.
        if isinstance(error, TimeoutError | ShardwiseError) and _is_over(is_over):
            raise LeaseLost(f"the lease {name} could not be renewed in time: its holder was stopped") from error
        raise
    with contextlib.suppress(*TRANSIENT):  # It ends by itself.
        await leases.release(name, lease.holder, lease.token)


def _is_over(limit: asyncio.Timeout | None) -> bool:
    if limit is None:
        return False
    when = limit.when()
    return limit.expired() or (when is not None and asyncio.get_running_loop().time() >= when)


async def _renew(leases: Leases, lease: Lease, seconds: float, is_over: asyncio.Timeout) -> None:
    loop = asyncio.get_running_loop()
    wait = seconds * _RENEW_AFTER
    while True:
        await asyncio.sleep(wait)
        asked_at = loop.time()
        try:
            await leases.renew(lease.name, lease.holder, lease.token, seconds)
        except LeaseLost:
            is_over.reschedule(loop.time())
            return
        except ShardwiseError:
            wait = seconds * _TRY_AGAIN_AFTER
        else:
            is_over.reschedule(asked_at + seconds)
            wait = seconds * _RENEW_AFTER
