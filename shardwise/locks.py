"""Leases: something that only one, or only readers, may do at a time. See docs/locks.md."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from domain.identifiers import check_identifier
from domain.leases import (
    LEASE_SECONDS,
    LeaseLost,
    Mode,
    Wanted,
    check_any_lease_name,
    check_lease_name,
    check_lease_seconds,
    check_token,
    check_wanted,
)
from shards.leases.keeping import HeldLease, held_lease
from shards.leases.lease_rows import InQueue, Lease, LeaseState
from shards.leases.leases import Leases
from shardwise.connections import Installation
from shardwise.new_ids import new_id

__all__ = ["HeldLease", "InQueue", "Lease", "LeaseLost", "LeaseState", "Locks", "Mode", "new_holder_id"]


def new_holder_id() -> str:
    """For a holder without a name of its own."""
    return new_id()


class Locks:
    """Leases by name. A name has the form of an id; its rows are on a shard, chosen by its hash.

    A lease is held for a limited time, by the database's clock, and nobody notices a holder that is stopped beyond it.
    So each grant has a `token` that only grows: send it along with whatever you write, and let the place that is
    written to refuse a lower one. An order or a transfer needs no lease: its id is claimed, and its row decides.

    Raises `InvalidInput`, and `Unreachable` if the lease's shard is down.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    async def acquire(
        self,
        name: str,
        holder: str | None = None,
        mode: Mode | str = Mode.EXCLUSIVE,
        seconds: float = LEASE_SECONDS,
        wait: float = 0,
    ) -> Lease:
        """For `seconds`, unless it is renewed. `mode` is `exclusive` or `shared`. `holder` names who has it: by default
        a new id. `wait`: for how many seconds to queue for it, in the order of arrival.

        Idempotent by holder: a repeat returns the same grant. Undone by `release`. A crash leaves it granted until its
        time is over, or not at all. `Refused` with `lease_held`, `lease_mode` if the holder has it in the other mode,
        or `lease_queue_full`; `Unreachable` with `fence_unreachable` if the shard was started since the last grant, and
        another server is away.
        """
        check_lease_name(name)
        return await self._leases.acquire(name, _wanted(holder, mode, seconds, wait))

    async def renew(self, name: str, holder: str, token: int, seconds: float = LEASE_SECONDS) -> Lease:
        """From now on it lasts `seconds`, unless it lasts longer already. Safe to repeat. A crash leaves it renewed or
        not. Raises `LeaseLost` for anybody but the holder, and when its time is over, even if nobody has it since."""
        check_lease_name(name)
        owner = check_identifier(holder, "holder"), check_token(token)
        return await self._leases.renew(name, *owner, check_lease_seconds(seconds))

    async def release(self, name: str, holder: str, token: int) -> LeaseState:
        """Ends a grant before its time. Safe to repeat while nobody else has it. Never undone. Returns the lease as it
        is then. Raises `LeaseLost` if somebody else has it."""
        check_lease_name(name)
        return await self._leases.release(name, check_identifier(holder, "holder"), check_token(token))

    async def show(self, name: str) -> LeaseState:
        """Who has it and who waits for it, at this moment, from the primary; also of the installation's own,
        `shardwise/staging`. Changes nothing."""
        check_any_lease_name(name)
        return await self._leases.read(name)

    def held(
        self,
        name: str,
        holder: str | None = None,
        mode: Mode | str = Mode.EXCLUSIVE,
        seconds: float = LEASE_SECONDS,
        wait: float = 0,
    ) -> AbstractAsyncContextManager[HeldLease]:
        """The lease for as long as a block runs:

            async with app.locks.held("nightly-report", wait=60) as lease:
                await store.write(report, token=lease.token)

        Renewed in the background. If it cannot be renewed in time, the block is cancelled and `LeaseLost` raised; a
        process that was stopped is only refused by the token. A crash leaves it held until its time is over. Raises as
        `acquire` does.
        """
        check_lease_name(name)
        return held_lease(self._leases, name, _wanted(holder, mode, seconds, wait))

    @property
    def _leases(self) -> Leases:
        return Leases(self._installation.with_timeouts.router)


def _wanted(holder: str | None, mode: Mode | str, seconds: float, wait: float) -> Wanted:
    return check_wanted(new_holder_id() if holder is None else holder, mode, seconds, wait)
