"""Leases: ownership for a limited time, and the fencing token that makes it safe.

A lease alone proves nothing: its holder can be stopped beyond its time, wake up, and write. So each grant carries a
*token* that only grows, and a protected write raises or compares it where the rows are (`shards.leases.fence`): one of
an earlier grant is refused.

    exclusive   one holder, a token of its own
    shared      any number of holders at once. They do not bar each other, so all that come between two exclusive
                grants have one token

Who may hold it is decided by the lease's row, in the order of arrival, by the database's clock. A waiter that is silent
for `LAPSES_AFTER` has died, or hangs, and loses its place, so that it never holds up the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from domain.choices import choice
from domain.errors import InvalidInput, Refused
from domain.identifiers import check_identifier, shown
from domain.limits import IDENTIFIER_CHARS_MAX, LEASE_SECONDS_MAX, LEASE_WAITERS_MAX, TOKEN_MAX
from domain.numbers import check_seconds, check_whole

LEASE_SECONDS = 30.0
LAPSES_AFTER = timedelta(seconds=5)

_INSTALLATION = "shardwise/"
NAME_PATTERN = f"^({_INSTALLATION})?[A-Za-z0-9._-]{{1,{IDENTIFIER_CHARS_MAX}}}$"


class InstallationLease(StrEnum):
    """Leases of the installation itself, in the catalog. The slash keeps the names out of users' reach."""

    STAGING = f"{_INSTALLATION}staging"


class Mode(StrEnum):
    EXCLUSIVE = "exclusive"
    SHARED = "shared"


def conflict(one: Mode, other: Mode) -> bool:
    return Mode.EXCLUSIVE in (one, other)


class LeaseLost(Refused):
    """Who asks does not hold the lease, or not any more: its time is over, or a later holder's token was there first.
    Nothing was written."""

    def __init__(self, message: str) -> None:
        super().__init__("lease_lost", message)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an acquirer asks for; checked. `wait_seconds` is how long it may keep its place in the queue; with zero it
    takes none."""

    holder: str
    mode: Mode = Mode.EXCLUSIVE
    seconds: float = LEASE_SECONDS
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Holder:
    holder: str
    mode: Mode
    token: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Waiter:
    """`gives_up_at` is its time limit, `lapses_at` when it has been silent for too long."""

    holder: str
    mode: Mode
    ticket: int
    gives_up_at: datetime
    lapses_at: datetime


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A lease as its rows say, those included whose time is over. `mode`: of the last grant. `tickets`: given out."""

    token: int = 0
    mode: Mode | None = None
    tickets: int = 0
    holders: Sequence[Holder] = ()
    waiters: Sequence[Waiter] = ()

    def live_holders(self, now: datetime) -> list[Holder]:
        return [each for each in self.holders if each.expires_at > now]

    def live_waiters(self, now: datetime) -> list[Waiter]:
        return [each for each in self.waiters if min(each.gives_up_at, each.lapses_at) > now]


@dataclass(frozen=True, slots=True)
class Granted:
    """`is_new` is false for a repeat by a holder that has it already."""

    token: int
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class MustWait:
    """`ticket` is the place in the order of arrival; None without one. `ahead`: how many must go before. `why`: for a
    person."""

    ticket: int | None
    ahead: int
    why: str


def decide(lease: LeaseRow, wanted: Wanted, now: datetime) -> Granted | MustWait:
    """Whether the lease is granted at this moment. `Refused` with `lease_mode` for one that is held in the other mode
    by the same holder, `lease_queue_full` for a waiter too many.

    Fair: nobody is granted before a waiter that came earlier and that it would bar, or be barred by.
    """
    holders, waiters = lease.live_holders(now), lease.live_waiters(now)
    own = next((each for each in holders if each.holder == wanted.holder), None)
    if own is not None:
        if own.mode is not wanted.mode:
            raise Refused("lease_mode", f"{wanted.holder} holds it {own.mode}: release it first", "mode")
        return Granted(own.token, is_new=False)
    place = next((each for each in waiters if each.holder == wanted.holder), None)
    if place is not None and place.mode is not wanted.mode:
        raise Refused("lease_mode", f"{wanted.holder} waits for it {place.mode}", "mode")
    ticket = place.ticket if place is not None else lease.tickets + 1
    barring = [each for each in holders if conflict(each.mode, wanted.mode)]
    earlier = [each for each in waiters if each.ticket < ticket and conflict(each.mode, wanted.mode)]
    if not barring and not earlier:
        return Granted(_next_token(lease, wanted.mode))
    why = _why(barring, earlier)
    if wanted.wait_seconds == 0 and place is None:
        return MustWait(None, len(barring) + len(earlier), why)
    if place is None and len(waiters) >= LEASE_WAITERS_MAX:
        raise Refused("lease_queue_full", f"{len(waiters)} wait for it already")
    return MustWait(ticket, len(barring) + len(earlier), why)


def _next_token(lease: LeaseRow, mode: Mode) -> int:
    """Sharers that no exclusive grant lies between have one token: a higher one would fence the others out."""
    return lease.token if mode is lease.mode is Mode.SHARED else lease.token + 1


def _why(barring: Sequence[Holder], earlier: Sequence[Waiter]) -> str:
    if not barring:
        return f"{len(earlier)} came earlier and wait for it"
    names = ", ".join(each.holder for each in barring[:3]) + (" and others" if len(barring) > 3 else "")
    last = max(each.expires_at for each in barring)
    return f"held by {names} until {last:%H:%M:%S} UTC at the latest, unless renewed"


def token_after_a_start(token: int, fences: Iterable[int], started: datetime) -> int:
    """What the first grant goes on from on a server that was started, at `started`, since the last one. `token` is what
    its row says, 0 if it has none; `fences`: of all servers that can have one.

    From inside, a server that was restored from an older copy looks like one that was only started again, and has
    forgotten what it granted last. So it goes on above every fence, and above the milliseconds of its start: what was
    granted before, and perhaps never written with, was counted from an earlier one. A fixed gap would not do: another
    start before the restore has left the same one. A name that nobody knows begins at 1.
    """
    highest = max(token, *fences, 0)
    return max(highest, int(started.timestamp() * 1000)) if highest else 0


def check_lease_name(name: object, field: str = "name") -> str:
    """A user's lease: `name` unchanged, or `InvalidInput`."""
    return check_identifier(name, field)


def check_any_lease_name(name: object, field: str = "name") -> str:
    """A user's lease or one of the installation: `name` unchanged, or `InvalidInput`."""
    if isinstance(name, str) and name in set(InstallationLease):
        return name
    return check_lease_name(name, field)


def is_of_the_installation(name: str) -> bool:
    return re.match(_INSTALLATION, name) is not None


def check_wanted(holder: str, mode: Mode | str, seconds: float, wait: float) -> Wanted:
    """Checked, or `InvalidInput`."""
    chosen = choice(Mode, mode, "mode")
    return Wanted(check_identifier(holder, "holder"), chosen, check_lease_seconds(seconds), check_seconds(wait, "wait"))


def check_lease_seconds(seconds: float, field: str = "seconds") -> float:
    """How long a lease lasts unless it is renewed: `seconds` unchanged, or `InvalidInput`."""
    if type(seconds) in (int, float) and 1 <= seconds <= LEASE_SECONDS_MAX:
        return seconds
    raise InvalidInput(field, f"{field}: expected 1 to {LEASE_SECONDS_MAX} seconds, got {shown(seconds)}")


def check_token(token: int, field: str = "token") -> int:
    return check_whole(token, field, 1, TOKEN_MAX)
