"""The fence: a protected write proves under a row's lock that no later grant of its lease has written before it.

A fence is a row beside the rows that it protects, with the highest token that has come by. A write raises it, or finds
its own token there, or is refused; and since the row stays locked until the write has committed, none of a later grant
can come in between. A SELECT would not do: a holder that is stopped between the comparison and its write writes last.

    one statement        the fence is folded in: `RAISED`, and a condition that it let us through
    several, or COPY     `raise_fence` opens the transaction

A new holder raises the fence of each database before it *reads* there. Otherwise it could decide by what a holder
before it then changes.
"""

from __future__ import annotations

from typing import Any, Protocol

from sqlalchemy import CursorResult, TextClause, text

from domain.leases import LeaseLost

# Goes before a statement as `WITH raised AS (…)`, which then writes only `WHERE EXISTS (SELECT FROM raised)`. No row of
# it: the token, `:token`, is lower than another that was here under the lease `:lease`. Also the row of an equal token
# is written, as its lock is what keeps later grants out.
RAISED = """
    raised AS (
        INSERT INTO fence AS f (name, token) VALUES (:lease, :token)
        ON CONFLICT (name) DO UPDATE SET token = excluded.token, raised_at = now() WHERE f.token <= excluded.token
        RETURNING token
    )
"""
_RAISE = text(f"WITH {RAISED} SELECT token FROM raised")
_READ = text("SELECT token FROM fence WHERE name = :lease")


class Executes(Protocol):
    """A transaction: `ShardTransaction` or `BulkTransaction`."""

    async def execute(self, statement: TextClause, **parameters: Any) -> CursorResult[Any]: ...


async def raise_fence(tx: Executes, lease: str, token: int) -> None:
    """Opens a protected transaction. Raises `LeaseLost` if a later grant was here; then nothing is written.

    Idempotent, and never undone: a fence is not lowered. A crash leaves it raised or not, and both are safe. Waits for
    the protected transactions that are open here.
    """
    if (await tx.execute(_RAISE, lease=lease, token=token)).one_or_none() is None:
        raise lost(lease, token)


async def read_fence(tx: Executes, lease: str) -> int:
    """The highest token that was here; 0 if none was. Only for reports, and for what a restored server must exceed: it
    protects nothing."""
    return (await tx.execute(_READ, lease=lease)).scalar_one_or_none() or 0


def lost(lease: str, token: int) -> LeaseLost:
    return LeaseLost(f"the lease {lease} was granted again since token {token}: nothing was written")
