"""Ends transactions that another role has left in doubt, before an installation is handed to a new role: only the role
that prepared a transaction, or a superuser, can end it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import make_url

from domain.errors import Refused, Unreachable
from domain.two_phase import Coordinator, parse_gid
from shards.connections.cluster import Cluster
from shards.connections.database import Database
from shards.routing.router import Router
from shards.transfers.in_doubt import FindCoordinator, Sweep
from stack.settings import Databases

_BY_OTHERS = text("""
    SELECT gid, owner FROM pg_prepared_xacts
    WHERE database = current_database() AND starts_with(gid, 'shardwise' || chr(58)) AND owner <> :role ORDER BY gid
""")


class _Prepared(NamedTuple):
    shard: str
    gid: str
    owner: str


async def end_what_others_prepared(
    owners: Cluster, addresses: Databases, ask: FindCoordinator | None, say: Callable[[str], None]
) -> None:
    """If another role than the addresses name has prepared a transaction, ends all that are in doubt.

    A transfer whose workflow still waits for its worker is ended too: as its source's row has decided, else aborted.
    The workflow then reads that outcome (`shards.transfers.two_phase`). Idempotent; a crash leaves the rest for the
    next call. Raises `Refused`, naming what is left, if `owners` is neither a superuser nor the role that prepared it,
    or a shard's part cannot be known.
    """
    if not await _prepared_by_others(owners, addresses):
        return

    async def find_coordinator(saga_id: str) -> Coordinator:
        if ask is None:
            raise Unreachable("temporal_unreachable", "what its workflow has decided is not known here")
        coordinator = await ask(saga_id)
        return Coordinator.GONE if coordinator is Coordinator.AT_WORK else coordinator

    report = await Sweep(Router(owners), find_coordinator, older_than_seconds=0).run()
    for each in report.resolved:
        say(f"{each.shard}: {each.gid} was left in doubt: {each.outcome}")
    if left := await _prepared_by_others(owners, addresses):
        if foreign := [each for each in left if parse_gid(each.gid) is None]:
            raise Refused("in_doubt", _foreign_message(foreign))
        why = {each.gid: each.why for each in report.waiting}
        named = "; ".join(f"{each.gid} of {each.owner}: {why.get(each.gid, 'prepared meanwhile')}" for each in left)
        raise Refused(
            "in_doubt",
            f"other roles have transactions in doubt, which the role of the workers could not end: {named}. Stop the "
            "workers of that role and run `shardwise migrate` again, with a superuser in SHARDWISE_MIGRATION_USER",
        )


def _foreign_message(foreign: Sequence[_Prepared]) -> str:
    """No sweep ends them: this release does not know what their names mean."""
    named = "; ".join(
        f"on {each.shard} `ROLLBACK PREPARED {_quoted(each.gid)}`, prepared by {each.owner}" for each in foreign
    )
    return (
        "transactions of other roles have names that this release does not give. A newer release's `shardwise recover` "
        "ends those that it prepared; whoever prepared any other ends it by hand, with COMMIT PREPARED if it was to "
        f"happen, else with ROLLBACK PREPARED: {named}. Then run `shardwise migrate` again"
    )


def _quoted(gid: str) -> str:
    return "'" + gid.replace("'", "''") + "'"


async def _prepared_by_others(owners: Cluster, addresses: Databases) -> Sequence[_Prepared]:
    """By shard."""
    found: list[_Prepared] = []
    for name, dsn in addresses.shards.items():
        found += await _on(owners.primaries[name], str(make_url(dsn).username))
    return found


async def _on(shard: Database, role: str) -> Sequence[_Prepared]:
    async with shard.transaction() as connection:
        rows = await connection.execute(_BY_OTHERS, {"role": role})
        return [_Prepared(shard.name, row.gid, row.owner) for row in rows]
