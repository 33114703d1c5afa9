"""The life of the read model's versions: one is begun beside `live`, switched to, and confirmed or reverted.

A version is a schema, so a switch is two renames in one transaction: each statement of a reader that names `live` sees
one version or the other, never a mixture and never neither. Every writer first locks a cursor of the version, so
locking the table of cursors excludes all writers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Refused, ShardwiseError
from shards.connections.database import Database
from shards.outbox.lag import lost_versions
from shards.outbox.marks import HistoryLost
from shards.projection.projector import Projector
from shards.tables.read_model import LIVE, metadata
from shards.tables.versions import Version, rebuild_ids

# Creating, renaming and dropping versions excludes each other.
_TAKE_LOCK = text("SELECT pg_advisory_xact_lock(1, 1)")
_BEHIND = """
    SELECT given.shard, behind.xid IS NULL AS is_unknown
    FROM unnest(CAST(:shards AS text[])) AS given (shard)
    LEFT JOIN {ahead}.projection_cursor AS ahead USING (shard)
    LEFT JOIN {behind}.projection_cursor AS behind USING (shard)
    WHERE behind.xid IS NULL OR behind.xid < ahead.xid ORDER BY given.shard
"""


class Superseded(ShardwiseError):
    """`next` belongs to another rebuild, or was dropped. No retry can mend it."""

    def __init__(self) -> None:
        super().__init__("superseded", "the version that was being filled is no longer there: another rebuild began")


async def begin(read_model: Database, rebuild_id: str) -> None:
    """Creates an empty `next` for this rebuild, and drops one that an earlier rebuild has left.

    One transaction, idempotent by `rebuild_id`. Undone by `revert`. Refuses with `retired_unconfirmed` while the
    version before the last switch is kept.
    """
    async with read_model.transaction() as to:
        await to.execute(_TAKE_LOCK)
        known = await rebuild_ids(to)
        if rebuild_id in known.values():
            return
        if refused := why_not_begin(known):
            raise refused
        if Version.NEXT in known:
            await _drop(to, Version.NEXT)
        await _create_next(to, rebuild_id)


def why_not_begin(versions: Iterable[Version]) -> Refused | None:
    """Why no rebuild may begin beside these versions; None if one may."""
    if Version.RETIRED not in versions:
        return None
    return Refused(
        "retired_unconfirmed",
        "the version before the last switch is still kept: run `shardwise projection confirm` to drop it, or "
        "`shardwise projection revert` to go back to it",
    )


async def _create_next(to: AsyncConnection, rebuild_id: str) -> None:
    await to.exec_driver_sql(f"CREATE SCHEMA {Version.NEXT}")
    await to.exec_driver_sql(f"COMMENT ON SCHEMA {Version.NEXT} IS '{UUID(rebuild_id)}'")
    # Indexes and constraints get the same names as in `live`: migrations find them by name when this version is live.
    translated = await to.execution_options(schema_translate_map={LIVE: Version.NEXT.value})
    await translated.run_sync(partial(metadata.create_all, checkfirst=False))


async def assert_is_next(connection: AsyncConnection, rebuild_id: str) -> None:
    """Raises `Superseded` unless `next` belongs to this rebuild."""
    if (await rebuild_ids(connection)).get(Version.NEXT) != rebuild_id:
        raise Superseded


async def switch(read_model: Database, shards: Mapping[str, Database], rebuild_id: str) -> None:
    """`next` becomes `live`, and `live` becomes `retired`, in one transaction. Readers never go back in time: `next`
    first catches up with `live`, while writers of `live` wait. It does not wait for a shard whose history `live` has
    lost.

    Idempotent by `rebuild_id`; undone by `revert`. A crash leaves it done or not. Raises `Superseded`, and `not_filled`
    if `next` was not filled from every shard.
    """
    async with read_model.transaction() as to:
        await to.execute(_TAKE_LOCK)
        known = await rebuild_ids(to)
        if known.get(Version.LIVE) == rebuild_id:
            return
        if known.get(Version.NEXT) != rebuild_id:
            raise Superseded
        if unknown := await _catch_up(to, read_model, shards, Version.NEXT):
            raise ShardwiseError("not_filled", f"the new version was not filled from {', '.join(unknown)}")
        await _rename(to, Version.LIVE, Version.RETIRED)
        await _rename(to, Version.NEXT, Version.LIVE)


async def confirm(read_model: Database) -> bool:
    """Drops the version that was live before the last switch: cannot be undone. False if there is none. Idempotent."""
    async with read_model.transaction() as to:
        await to.execute(_TAKE_LOCK)
        if Version.RETIRED not in await rebuild_ids(to):
            return False
        await _drop(to, Version.RETIRED)
        return True


async def revert(read_model: Database, shards: Mapping[str, Database]) -> bool:
    """Undoes the last rebuild: the version that was live before is live again, and up to date; the new one is dropped.
    Also drops the `next` of a rebuild that stopped before its switch.

    Returns whether it switched. Refuses with `nothing_to_revert`, with `never_projected` if the earlier version has no
    position for a shard, and with `history_lost` if its position is of another history than the shard's. A crash
    between switch and drop leaves `next`, which another call drops.
    """
    async with read_model.transaction() as to:
        await to.execute(_TAKE_LOCK)
        known = await rebuild_ids(to)
        if Version.RETIRED in known:
            try:
                unknown = await _catch_up(to, read_model, shards, Version.RETIRED)
            except HistoryLost as lost:
                message = f"the version before the last switch is of another history of {lost.shard}: it stays as it is"
                raise Refused(lost.code, message) from lost
            if unknown:
                message = f"the version before the last switch knew nothing of {', '.join(unknown)}: it stays as it is"
                raise Refused("never_projected", message)
            await _rename(to, Version.LIVE, Version.NEXT)
            await _rename(to, Version.RETIRED, Version.LIVE)
        elif Version.NEXT not in known:
            raise Refused("nothing_to_revert", "there is no version of the read model beside the live one")
    async with read_model.transaction() as to:
        await to.execute(_TAKE_LOCK)
        if Version.NEXT in await rebuild_ids(to):
            await _drop(to, Version.NEXT)
    return Version.RETIRED in known


async def _catch_up(
    to: AsyncConnection, read_model: Database, shards: Mapping[str, Database], version: Version
) -> Sequence[str]:
    """Stops the writers of `live` until the transaction ends, and brings this version to `live`'s position or further.

    Returns the shards for which this version has no position; then it has not caught up. Raises `HistoryLost` if its
    position is of another history than a shard's.
    """
    await _lock_version(to, Version.LIVE, "EXCLUSIVE")
    lost = {name: await lost_versions(shard, read_model) for name, shard in shards.items()}
    for name, versions in lost.items():
        if version in versions:
            raise HistoryLost(name)
    # A shard is done if `live` itself has lost its history, or if this version has taken all that can be read: `live`
    # cannot have taken more of the same history.
    done = {name for name, versions in lost.items() if Version.LIVE in versions}
    statement = text(_BEHIND.format(ahead=Version.LIVE.value, behind=version.value))
    while True:
        behind = (await to.execute(statement, {"shards": list(shards)})).all()
        if unknown := [row.shard for row in behind if row.is_unknown]:
            return unknown
        waited_for = [row.shard for row in behind if row.shard not in done]
        if not waited_for:
            return []
        for name in waited_for:
            if not (await Projector(shards[name], read_model).project(version)).events:
                done.add(name)


async def _drop(to: AsyncConnection, version: Version) -> None:
    # The cursors first, in the order of every writer: a DROP that locks table by table could deadlock with one.
    await _lock_version(to, version, "ACCESS EXCLUSIVE")
    await to.exec_driver_sql(f"DROP SCHEMA {version} CASCADE")


async def _rename(to: AsyncConnection, version: Version, name: Version) -> None:
    await to.exec_driver_sql(f"ALTER SCHEMA {version} RENAME TO {name}")


async def _lock_version(to: AsyncConnection, version: Version, mode: str) -> None:
    await to.exec_driver_sql(f"LOCK TABLE {version}.projection_cursor IN {mode} MODE")
