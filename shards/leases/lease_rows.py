"""The rows of one lease: the decision who has it, by the clock of the database that they are in.

Every grant is one short transaction that first locks the lease's row and then reads the rest, so that two of them come
one after the other. Nobody waits inside: who may not have it yet gets a place in the queue, and asks again. The rows
are whole by themselves; whoever is granted a lease removes what has expired.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from domain.leases import LAPSES_AFTER, Holder, LeaseRow, Mode, MustWait, Waiter, Wanted, decide
from domain.timestamps import Timestamp
from shards.leases.fence import Executes

_OPEN = text("INSERT INTO lease (name) VALUES (:name) ON CONFLICT DO NOTHING")
_LOCK = text("""
    SELECT token, mode, tickets, pg_postmaster_start_time() AS started,
           server_started = pg_postmaster_start_time() IS TRUE AS is_vouched
    FROM lease WHERE name = :name FOR NO KEY UPDATE
""")
# A statement of its own, so that its snapshot is taken after the lock. The clock is read then too: it is not the one of
# the transaction, which has perhaps waited.
_READ = text("""
    SELECT clock.now, held.* FROM (SELECT clock_timestamp() AS now) AS clock LEFT JOIN (
        SELECT NULL AS ticket, holder, mode, token, granted_at AS since, expires_at, NULL AS lapses_at
        FROM lease_holder WHERE name = :name
        UNION ALL
        SELECT ticket, holder, mode, NULL, arrived_at, gives_up_at, lapses_at FROM lease_waiter WHERE name = :name
    ) AS held ON true ORDER BY ticket NULLS FIRST, token, holder
""")
_TIDY = text("""
    WITH waiters AS (
        DELETE FROM lease_waiter WHERE name = :name AND least(gives_up_at, lapses_at) <= :now
    )
    DELETE FROM lease_holder WHERE name = :name AND expires_at <= :now
""")
_GRANT = text("""
    WITH granted AS (
        UPDATE lease SET token = :token, mode = :mode, server_started = pg_postmaster_start_time() WHERE name = :name
    ), left_queue AS (
        DELETE FROM lease_waiter WHERE name = :name AND holder = :holder
    )
    INSERT INTO lease_holder (name, holder, mode, token, granted_at, expires_at)
    VALUES (:name, :holder, :mode, :token, :now, CAST(:now AS timestamptz) + make_interval(secs => :seconds))
    RETURNING granted_at, expires_at
""")
_QUEUE = text("""
    WITH numbered AS (UPDATE lease SET tickets = greatest(tickets, :ticket) WHERE name = :name)
    INSERT INTO lease_waiter (name, ticket, holder, mode, arrived_at, gives_up_at, lapses_at)
    VALUES (:name, :ticket, :holder, :mode, :now, CAST(:now AS timestamptz) + make_interval(secs => :wait_seconds),
            CAST(:now AS timestamptz) + make_interval(secs => :lapse_seconds))
    ON CONFLICT (name, ticket) DO UPDATE SET lapses_at = excluded.lapses_at
""")
# Without the row's lock, so that many who wait disturb nobody: a hint, by the rule of `domain.leases.decide`.
_STILL_WAITS = text(f"""
    WITH kept AS (
        UPDATE lease_waiter SET lapses_at = clock_timestamp() + make_interval(secs => :lapse_seconds)
        WHERE name = :name AND holder = :holder AND least(gives_up_at, lapses_at) > clock_timestamp()
        RETURNING ticket, mode
    )
    SELECT (SELECT count(*) FROM lease_holder AS h
            WHERE h.name = :name AND expires_at > clock_timestamp() AND '{Mode.EXCLUSIVE}' IN (h.mode, kept.mode))
         + (SELECT count(*) FROM lease_waiter AS w
            WHERE w.name = :name AND w.ticket < kept.ticket AND least(gives_up_at, lapses_at) > clock_timestamp()
              AND '{Mode.EXCLUSIVE}' IN (w.mode, kept.mode)) AS ahead
    FROM kept
""")
# Under the row's lock, so that no grant reads the old end and replaces the holder. An end is never brought forward.
_RENEW = text("""
    WITH locked AS MATERIALIZED (SELECT name FROM lease WHERE name = :name FOR NO KEY UPDATE)
    UPDATE lease_holder AS h
    SET expires_at = greatest(expires_at, clock_timestamp() + make_interval(secs => :seconds))
    FROM locked WHERE h.name = locked.name AND holder = :holder AND token = :token AND expires_at > clock_timestamp()
    RETURNING mode, granted_at, expires_at
""")
# Not under the row's lock: a release never queues behind those that ask for the lease.
_RELEASE = text("DELETE FROM lease_holder WHERE name = :name AND holder = :holder AND token = :token")
_LEAVE = text("""
    WITH waited AS (DELETE FROM lease_waiter WHERE name = :name AND holder = :holder)
    DELETE FROM lease_holder WHERE name = :name AND holder = :holder
""")
_HEAD = text("SELECT token, mode, tickets FROM lease WHERE name = :name")


@dataclass(frozen=True, slots=True)
class Lease:
    """A grant. It is over at `expires_at`, by the database's clock, unless it is renewed."""

    name: str
    holder: str
    mode: Mode
    token: int
    granted_at: Timestamp
    expires_at: Timestamp


@dataclass(frozen=True, slots=True)
class InQueue:
    """Who waits for a lease, in the order of arrival."""

    holder: str
    mode: Mode
    ticket: int
    arrived_at: Timestamp
    gives_up_at: Timestamp


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A lease at one moment. `token` is that of the last grant, 0 if there was none."""

    name: str
    token: int
    holders: list[Lease]
    waiters: list[InQueue]


@dataclass(frozen=True, slots=True)
class _Locked:
    row: LeaseRow
    is_vouched: bool
    started: datetime | None
    now: datetime
    leases: list[Lease]
    queue: list[InQueue]


class NotVouched(Exception):
    """This server has not granted this lease since it was started: it may have been restored from an older copy. Ask
    again with what `domain.leases.token_after_a_start` says of `token`, its own record, and when it was `started`."""

    def __init__(self, token: int, started: datetime) -> None:
        super().__init__(token, started)
        self.token = token
        self.started = started


async def acquire(tx: Executes, name: str, wanted: Wanted, known_token: int | None = None) -> Lease | MustWait:
    """Grants the lease, or says why not, and gives or keeps a place in the queue if the caller waits. Idempotent by
    holder: a repeat returns the same grant. Undone by `release` and `leave`. A crash leaves all of it or nothing.

    `known_token`: see `NotVouched`, which is raised without it where it is needed. `Refused` as `decide` says.
    """
    locked = await _lock(tx, name)
    answer = decide(locked.row, wanted, locked.now)
    given = {"name": name, "holder": wanted.holder, "mode": wanted.mode, "now": locked.now}
    if isinstance(answer, MustWait):
        if answer.ticket is not None:
            lapse = LAPSES_AFTER.total_seconds()
            waiting = {"ticket": answer.ticket, "wait_seconds": float(wanted.wait_seconds), "lapse_seconds": lapse}
            if not any(each.ticket == answer.ticket for each in locked.row.live_waiters(locked.now)):
                await _tidy(tx, name, locked)
            await tx.execute(_QUEUE, **given, **waiting)
        return answer
    if not answer.is_new:
        return next(each for each in locked.leases if each.holder == wanted.holder)
    token = answer.token
    if not locked.is_vouched:
        if known_token is None:
            assert locked.started is not None
            raise NotVouched(locked.row.token, locked.started)
        token = max(token, known_token + 1)
    await _tidy(tx, name, locked)
    row = (await tx.execute(_GRANT, **given, token=token, seconds=float(wanted.seconds))).one()
    return Lease(name, wanted.holder, wanted.mode, token, row.granted_at, row.expires_at)


async def still_waits(tx: Executes, name: str, holder: str) -> int:
    """Keeps a place in the queue, and says how many are ahead: with 0 it is time to ask again. 0 also if the place is
    lost."""
    lapse = LAPSES_AFTER.total_seconds()
    return (await tx.execute(_STILL_WAITS, name=name, holder=holder, lapse_seconds=lapse)).scalar_one_or_none() or 0


async def renew(tx: Executes, name: str, holder: str, token: int, seconds: float) -> Lease | None:
    """From now on it lasts `seconds`; an end that is later already stays. None if it is not held by this holder with
    this token, or its time is over: then nothing changes."""
    renewed = await tx.execute(_RENEW, name=name, holder=holder, token=token, seconds=float(seconds))
    row = renewed.one_or_none()
    return Lease(name, holder, Mode(row.mode), token, row.granted_at, row.expires_at) if row is not None else None


async def release(tx: Executes, name: str, holder: str, token: int) -> bool:
    """Ends a grant. False if there is none with this holder and token: then nothing changes."""
    return (await tx.execute(_RELEASE, name=name, holder=holder, token=token)).rowcount > 0


async def leave(tx: Executes, name: str, holder: str) -> None:
    """Gives up the place in the queue, and what was granted to this holder meanwhile. Idempotent."""
    await tx.execute(_LEAVE, name=name, holder=holder)


async def read(tx: Executes, name: str) -> LeaseState:
    """As it is now, without what has expired. Changes nothing."""
    head = (await tx.execute(_HEAD, name=name)).one_or_none()
    found = await _read(tx, name, head)
    holders = {each.holder for each in found.row.live_holders(found.now)}
    waiters = {each.holder for each in found.row.live_waiters(found.now)}
    return LeaseState(
        name,
        found.row.token,
        [each for each in found.leases if each.holder in holders],
        [each for each in found.queue if each.holder in waiters],
    )


async def _lock(tx: Executes, name: str) -> _Locked:
    head = (await tx.execute(_LOCK, name=name)).one_or_none()
    if head is None:
        await tx.execute(_OPEN, name=name)
        head = (await tx.execute(_LOCK, name=name)).one()
    return await _read(tx, name, head, head.is_vouched, head.started)


async def _read(
    tx: Executes, name: str, head: Row[Any] | None, is_vouched: bool = False, started: datetime | None = None
) -> _Locked:
    rows = (await tx.execute(_READ, name=name)).all()
    held = [row for row in rows if row.holder is not None and row.ticket is None]
    queue = [row for row in rows if row.ticket is not None]
    row = LeaseRow(
        token=head.token if head is not None else 0,
        mode=Mode(head.mode) if head is not None and head.mode is not None else None,
        tickets=head.tickets if head is not None else 0,
        holders=[Holder(each.holder, Mode(each.mode), each.token, each.expires_at) for each in held],
        waiters=[Waiter(each.holder, Mode(each.mode), each.ticket, each.expires_at, each.lapses_at) for each in queue],
    )
    return _Locked(
        row,
        is_vouched,
        started,
        rows[0].now,
        [Lease(name, each.holder, Mode(each.mode), each.token, each.since, each.expires_at) for each in held],
        [InQueue(each.holder, Mode(each.mode), each.ticket, each.since, each.expires_at) for each in queue],
    )


async def _tidy(tx: Executes, name: str, locked: _Locked) -> None:
    """Removes what has expired."""
    live = len(locked.row.live_holders(locked.now)) + len(locked.row.live_waiters(locked.now))
    if live < len(locked.row.holders) + len(locked.row.waiters):
        await tx.execute(_TIDY, name=name, now=locked.now)
