"""The life of the read model's versions: one is begun beside `live`, switched to, and confirmed or taken back.

A version is a schema, so a switch is two renames in one transaction: a reader that names `live` sees one version or the
other in each of its statements, never a mixture and never neither. Who writes takes the version's cursor first, so
locking the table of cursors is enough to be alone with a version.
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

# Who renames, makes or drops versions takes turns.
_TAKE_LOCK = text("SELECT pg_advisory_xact_lock(1, 1)")
_BEHIND = """
    SELECT given.shard, behind.xid IS NULL AS is_unknown
    FROM unnest(CAST(:shards AS text[])) AS given (shard)
    LEFT JOIN {ahead}.projection_cursor AS ahead USING (shard)
    LEFT JOIN {behind}.projection_cursor AS behind USING (shard)
    WHERE behind.xid IS NULL OR behind.xid < ahead.xid ORDER BY given.shard
"""


class Superseded(ShardwiseError):
    """`next` is another rebuild's, or was dropped. No retry can mend it."""

    def __init__(self) -> None:
        super().__init__("superseded", "the version that was being filled is no longer there: another rebuild began")


async def begin(read_model: Database, rebuild_id: str) -> None:
    """Has an empty `next` there that is this rebuild's, in place of one that an earlier rebuild has left.

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
    """Why no rebuild may begin beside these versions."""
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
    # By the same names as live's: migrations find them by name when this one is live.
    translated = await to.execution_options(schema_translate_map={LIVE: Version.NEXT.value})
    await translated.run_sync(partial(metadata.create_all, checkfirst=False))


async def assert_is_next(connection: AsyncConnection, rebuild_id: str) -> None:
    """Raises `Superseded`."""
    if (await rebuild_ids(connection)).get(Version.NEXT) != rebuild_id:
        raise Superseded


async def switch(read_model: Database, shards: Mapping[str, Database], rebuild_id: str) -> None:
    """`next` becomes live, live becomes `retired`, in one transaction. Never to something older: `next` is first
    brought to where live stands, while writers of live wait. Of a shard whose history live has lost there is nothing to
    wait for.

    Idempotent by `rebuild_id`; undone by `revert`. A crash leaves it done or not. Raises `Superseded`, and
    `not_filled` where a shard has not been filled from.
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
    """Drops what was live before the last switch: cannot be undone. False where nothing was kept. Idempotent."""
    async with read_model.transaction() as to:
        await to.execute(_TAKE_LOCK)
        if Version.RETIRED not in await rebuild_ids(to):
            return False
        await _drop(to, Version.RETIRED)
        return True


async def revert(read_model: Database, shards: Mapping[str, Database]) -> bool:
    """Back to before the last rebuild: what was live then is live again, and up to date; what was filled is dropped.
    Also drops what a rebuild has left that stopped before its switch.

    Whether it switched. Refuses with `nothing_to_revert`, with `never_projected` where the version before knew nothing
    of a shard, and with `history_lost` where it is of another history than one. A crash between switch and drop leaves
    `next`, which another call drops.
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
    """From here on live stands still, and this version stands where live does or behind it; not for the shards that are
    answered, of which it knows nothing. Raises `HistoryLost` where this version is of another history than a shard."""
    await _lock_version(to, Version.LIVE, "EXCLUSIVE")
    lost = {name: await lost_versions(shard, read_model) for name, shard in shards.items()}
    for name, versions in lost.items():
        if version in versions:
            raise HistoryLost(name)
    # Nothing is to be waited for where live itself is lost, nor where this version has taken all that can be read: live
    # has not taken more of the same history.
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
    # Cursors first, as every writer takes them: table by table, it would meet one in the middle and deadlock.
    await _lock_version(to, version, "ACCESS EXCLUSIVE")
    await to.exec_driver_sql(f"DROP SCHEMA {version} CASCADE")


async def _rename(to: AsyncConnection, version: Version, name: Version) -> None:
    await to.exec_driver_sql(f"ALTER SCHEMA {version} RENAME TO {name}")


async def _lock_version(to: AsyncConnection, version: Version, mode: str) -> None:
    await to.exec_driver_sql(f"LOCK TABLE {version}.projection_cursor IN {mode} MODE")
