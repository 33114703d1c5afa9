"""Errors, with messages for a person.

    ShardwiseError
    ├── InvalidInput   the caller must change something      exit 2
    ├── Refused        a business rule says no               exit 1
    │   ├── NotFound     there is nothing with this id
    │   ├── LeaseLost    a lease is over, or somebody else's (`domain.leases`)
    │   └── SessionLost  what a session has seen or written does not exist any more
    ├── Unreachable    something needed does not answer      exit 3
    │   └── NotAtPoint   servers answer, and none is new enough for the read
    ├── Busy           it answers, but we have no free connection to it           exit 3
    ├── NotMigrated    it answers, but lacks tables we need  exit 3
    ├── StaleRoute     this shard does not own the key (any more) at the caller's map version
    └── TryAgain       something else happened at the same moment; nothing was changed

The last two never reach a person: the step runs again.
"""

from __future__ import annotations

from collections.abc import Iterable


class ShardwiseError(Exception):
    """`code` is stable and for programs, `message` is a sentence, `field` names the input at fault.

    `shard` is where it happened, if that is known.
    """

    exit_code = 1
    shard: str | None = None

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


class InvalidInput(ShardwiseError):
    exit_code = 2

    def __init__(self, field: str | None, message: str, code: str = "invalid_input") -> None:
        super().__init__(code, message, field)


class Refused(ShardwiseError):
    exit_code = 1


class NotFound(Refused):
    """No order, transfer, account, product or customer has this id."""


class SessionLost(Refused):
    """A shard lacks what this session has seen or written, or nobody can know whether it has it. No server can answer
    this session any more; a new session reads what is there.

    `unknown`: an outcome was returned while the primary could not say where it lies, and then it started anew.
    """

    def __init__(self, shard: str, unknown: bool = False) -> None:
        what = (
            f"{shard} started again after an outcome of this session of which it could not say where it lies: whether "
            "it still has it cannot be known"
            if unknown
            else f"{shard} lacks what this session has seen or written: it was restored or promoted without it, or the "
            "session is of another installation"
        )
        super().__init__("session_lost", f"{what}. Begin a new session, and check what you wrote last", "session")
        self.shard = shard


class Unreachable(ShardwiseError):
    exit_code = 3


class NotAtPoint(Unreachable):
    """Servers answer, and none of them shows what the read's level demands, or not in time. Nothing was read; the same
    read may succeed later."""

    def __init__(self, missing: Iterable[str]) -> None:
        super().__init__("not_at_point", f"no server shows what this read demands: {'; '.join(missing)}")


class Busy(ShardwiseError):
    """All of this process's connections to a server are in use, and none became free in time. Nothing was done, and the
    server is not to blame: the next attempt may find one."""

    exit_code = 3

    def __init__(self, name: str) -> None:
        message = f"no connection to {name} became free in time: SHARDWISE_POOL_SIZE bounds how many there are"
        super().__init__("no_connection_free", message)


class NotMigrated(ShardwiseError):
    """Unlike an outage it does not pass by itself: somebody has to migrate."""

    exit_code = 3

    def __init__(self, what: str) -> None:
        super().__init__("not_migrated", f"{what}: run `shardwise migrate`")


class StaleRoute(ShardwiseError):
    """The write was rolled back. Safe to repeat with a fresh map."""

    def __init__(self, message: str) -> None:
        super().__init__("stale_route", message)


class TryAgain(ShardwiseError):
    """The write was rolled back. Safe to repeat, and the next attempt will see the conflicting change."""

    def __init__(self, message: str) -> None:
        super().__init__("try_again", message)


def first_of(error: BaseException) -> BaseException:
    """The first error of a group, else the error itself."""
    return first_of(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
