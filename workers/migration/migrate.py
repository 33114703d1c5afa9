"""Brings every database and Temporal to the state that this release needs, and checks whether they are in it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import text
from temporalio.client import Client

from activities.coordinators import coordinator_of
from domain.errors import InvalidInput, NotMigrated, ShardwiseError
from domain.two_phase import Coordinator
from shards.connections.cluster import Cluster
from shards.connections.concurrency import gather_all
from shards.connections.database import Database
from shards.connections.identity import assert_is_shard
from shards.routing.map_store import load_map, load_whole_map, seed_map
from shards.transfers.in_doubt import FindCoordinator
from stack.settings import Databases, Settings, resolve_databases, resolve_owner_databases
from stack.temporal_client import connect
from workers.lasting.in_doubt_sweeper import replace_schedule
from workers.migration.database_role import assert_no_superuser, assert_role_fits, ensure_role, missing_rights_reported
from workers.migration.others_prepared import end_what_others_prepared
from workers.migration.schema import Kind, current_revision, history_of
from workers.migration.search_attributes import KEYWORDS, missing_search_attributes, register_search_attributes

_NAME_IT = text("INSERT INTO shard_identity (name) VALUES (:name) ON CONFLICT DO NOTHING")


@dataclass(frozen=True)
class Upgrade:
    """Revisions before and after; `before` is None for a database that was empty."""

    name: str
    before: str | None
    after: str


@dataclass(frozen=True)
class Migrated:
    """`schedules_removed`: schedules of earlier releases, which a workflow has replaced."""

    databases: list[Upgrade]
    search_attributes: list[str]
    schedules_removed: list[str]
    map_version: int


async def migrate(settings: Settings, report: Callable[[str], None]) -> Migrated:
    """Upgrades every database, creates and grants the role of the workers, gives the shards their names and slots,
    registers Temporal's search attributes, and removes a schedule of an earlier release.

    Safe to repeat, to kill at any point and to run twice at once. `InvalidInput` if the settings do not fit what the
    databases hold, `Unreachable` if a server does not answer, `Refused` if transactions that another role has left in
    doubt cannot be ended.
    """
    owners, addresses = resolve_owner_databases(settings), resolve_databases(settings)

    async def coordinator(saga_id: str) -> Coordinator:
        return await coordinator_of(await connect(settings), saga_id)

    upgrades = await migrate_databases(owners, report, addresses, coordinator)
    async with _cluster(addresses) as cluster:
        version = (await load_map(cluster.catalog)).version
    client = await connect(settings)
    await register_search_attributes(client)
    return Migrated(upgrades, list(KEYWORDS), await replace_schedule(client), version)


async def migrate_databases(
    owners: Databases,
    report: Callable[[str], None],
    addresses: Databases | None = None,
    ask: FindCoordinator | None = None,
) -> list[Upgrade]:
    """The part of `migrate` that is about Postgres, with the same promises.

    `owners`: the owner's addresses. `addresses`: the workers'; None: the same. `ask`: returns what is known of the
    coordinator of a transfer that another role has left in doubt.
    """
    async with _cluster(owners) as cluster, missing_rights_reported():
        dsns = owners.all
        if len(set(dsns)) < len(dsns):
            raise InvalidInput("shards", "the settings give one database two names: each needs one of its own")
        if addresses is not None:
            await assert_role_fits(cluster, addresses)
        targets = [Target(*each) for each in zip(_kinds(cluster), cluster.databases, dsns, strict=True)]
        slots = asyncio.Semaphore(os.cpu_count() or 1)
        upgrades = await gather_all(_upgrade(target, slots, report) for target in targets)
        if addresses is not None:
            await end_what_others_prepared(cluster, addresses, ask, report)
            await ensure_role(cluster, _kinds(cluster), addresses, report)
        await gather_all(_claim_name(shard) for shard in cluster.primaries.values())
        await seed_map(cluster)
    return upgrades


async def assert_ready(cluster: Cluster, client: Client) -> None:
    """Checks that `migrate` has run, before a worker polls. Changes nothing.

    `NotMigrated` saying what is missing, `InvalidInput` if shards were mixed up, or their role is a superuser.
    """
    await assert_databases_ready(cluster)
    await assert_no_superuser(cluster.databases)
    if missing := await missing_search_attributes(client):
        raise NotMigrated(f"Temporal lacks the search attributes {_listed(missing)}")


async def assert_databases_ready(cluster: Cluster) -> None:
    """The part of `assert_ready` that is about Postgres."""
    await gather_all(
        _assert_at_head(kind, database) for kind, database in zip(_kinds(cluster), cluster.databases, strict=True)
    )
    await gather_all(_assert_name(shard) for shard in cluster.primaries.values())
    await load_whole_map(cluster)


@dataclass(frozen=True)
class Target:
    kind: Kind
    database: Database
    dsn: str


async def _upgrade(target: Target, slots: asyncio.Semaphore, report: Callable[[str], None]) -> Upgrade:
    name, head = target.database.name, history_of(target.kind).head
    before = await _revision(target.kind, target.database)
    if before != head:
        report(f"{name}: {before or 'empty'} → {head}")
        async with slots:
            await _in_child(target)
    return Upgrade(name, before, head)


async def _revision(kind: Kind, database: Database) -> str | None:
    revision = await current_revision(database)
    if revision is not None and revision not in history_of(kind).known:
        raise InvalidInput(
            database.name,
            f"{database.name} has schema revision {revision}, which this release does not know for a {kind} database: "
            "it is another kind of database, or a newer release's",
            code="unknown_revision",
        )
    return revision


async def _in_child(target: Target) -> None:
    """Upgrades in a process of its own, since Alembic's operations are global to a process."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "workers.migration.migrate_one"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        request = json.dumps({"kind": target.kind, "dsn": target.dsn}).encode()
        _, errors = await child.communicate(request)
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        reason = (errors.decode(errors="replace").strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise ShardwiseError("migration_failed", f"{target.database.name} could not be migrated: {reason}")


async def _claim_name(shard: Database) -> None:
    """Gives a shard that has no name yet its name, for ever. `InvalidInput` if it has another."""
    async with shard.transaction() as connection:
        await connection.execute(_NAME_IT, {"name": shard.name})
    await _assert_name(shard)


async def _assert_name(shard: Database) -> None:
    async with shard.transaction() as connection:
        await assert_is_shard(connection, shard.name)


async def _assert_at_head(kind: Kind, database: Database) -> None:
    revision, head = await _revision(kind, database), history_of(kind).head
    if revision != head:
        raise NotMigrated(f"{database.name} is at schema revision {revision or 'none'}, not {head}")


def _cluster(addresses: Databases) -> Cluster:
    """For shards that may have neither tables nor names yet."""
    return Cluster(
        addresses.shards,
        addresses.catalog,
        addresses.read_model,
        pool_size=2,
        long_running=True,
        check_names=False,
        login=addresses.login,
    )


def _kinds(cluster: Cluster) -> list[Kind]:
    """In the order of `cluster.databases`."""
    return [*(Kind.SHARD for _ in cluster.primaries), Kind.CATALOG, Kind.READ_MODEL]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
