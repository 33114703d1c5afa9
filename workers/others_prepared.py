"""Ends what another role has left in doubt, before an installation is handed to a new role: only the role that prepared
a transaction, or a superuser, can end it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import text
from sqlalchemy.engine import make_url

from domain.errors import Refused, Unreachable
from domain.two_phase import Coordinator
from shards.engines import Cluster, Database
from shards.in_doubt import Ask, Sweep
from shards.routing import Router
from stack.settings import Databases

_BY_OTHERS = text("""
    SELECT gid, owner FROM pg_prepared_xacts
    WHERE database = current_database() AND starts_with(gid, 'shardwise' || chr(58)) AND owner <> :role ORDER BY gid
""")


async def end_what_others_prepared(
    owners: Cluster, addresses: Databases, ask: Ask | None, say: Callable[[str], None]
) -> None:
    """Ends what is in doubt, where any of it was prepared by another role than the addresses name.

    A transfer whose workflow still waits for its worker is ended too, as its source's row says and else aborted: the
    workflow finds it so (`shards.two_phase`). Idempotent; a crash leaves the rest for the next call. Raises `Refused`,
    naming what is left, where `owners` is neither a superuser nor the role that prepared it, or a shard's part cannot
    be known.
    """
    if not await _prepared_by_others(owners, addresses):
        return

    async def ask_who_decided(saga_id: str) -> Coordinator:
        if ask is None:
            raise Unreachable("temporal_unreachable", "nobody can be asked what its workflow has decided")
        coordinator = await ask(saga_id)
        return Coordinator.GONE if coordinator is Coordinator.AT_WORK else coordinator

    report = await Sweep(Router(owners), ask_who_decided, older_than_seconds=0).run()
    for each in report.resolved:
        say(f"{each.shard}: {each.gid} was left in doubt: {each.outcome}")
    if left := await _prepared_by_others(owners, addresses):
        why = {each.gid: each.why for each in report.waiting}
        named = "; ".join(f"{gid} of {owner}: {why.get(gid, 'prepared meanwhile')}" for gid, owner in left)
        raise Refused(
            "in_doubt",
            f"other roles have transactions in doubt, which the role of the workers could not end: {named}. Stop the "
            "workers of that role and run `shardwise migrate` again, with a superuser in SHARDWISE_MIGRATION_USER",
        )


async def _prepared_by_others(owners: Cluster, addresses: Databases) -> Sequence[tuple[str, str]]:
    """(gid, owner), by shard."""
    found: list[tuple[str, str]] = []
    for name, dsn in addresses.shards.items():
        found += await _on(owners.shards[name], str(make_url(dsn).username))
    return found


async def _on(shard: Database, role: str) -> Sequence[tuple[str, str]]:
    async with shard.transaction() as connection:
        return [(row.gid, row.owner) for row in await connection.execute(_BY_OTHERS, {"role": role})]
