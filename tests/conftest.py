"""Fixtures on real Postgres. One scratch server per session; each test has databases of its own on it."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from shards.engines import Cluster
from stack.settings import Databases
from tests.support.postgres import create_databases, drop_databases, lasting_databases, scratch_server, sibling
from tests.support.postgres import migrated_templates as make_templates

FreshDatabase = Callable[[], Awaitable[str]]
FreshCluster = Callable[[], AbstractAsyncContextManager[Databases]]

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
async def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The DSN of the scratch server's maintenance database."""
    folder: Path = tmp_path_factory.mktemp("postgres")
    async with scratch_server(folder) as admin:
        yield admin


@pytest.fixture
async def fresh_database(postgres_server: str) -> AsyncIterator[FreshDatabase]:
    """Makes an empty database at each call; all are dropped after the test."""
    made: list[str] = []

    async def make() -> str:
        made.append(f"fresh_{next(_numbers)}")
        await create_databases(postgres_server, {made[-1]: "template0"})
        return sibling(postgres_server, made[-1])

    yield make
    await drop_databases(postgres_server, made)


@pytest.fixture(scope="session")
async def migrated_templates(postgres_server: str) -> dict[str, str]:
    """See `tests.support.postgres.migrated_templates`."""
    return await make_templates(postgres_server)


@pytest.fixture(scope="session")
def fresh_cluster(postgres_server: str, migrated_templates: dict[str, str]) -> FreshCluster:
    """Three migrated shards, catalog and read model at each call: databases of their own, dropped after the block."""
    return lambda: lasting_databases(postgres_server, migrated_templates)


@pytest.fixture
async def cluster_dsns(fresh_cluster: FreshCluster) -> AsyncIterator[Databases]:
    """The databases of one test."""
    async with fresh_cluster() as databases:
        yield databases


@pytest.fixture
async def cluster(cluster_dsns: Databases) -> AsyncIterator[Cluster]:
    """The map is seeded and every shard knows what it owns."""
    async with Cluster(cluster_dsns.shards, cluster_dsns.catalog, cluster_dsns.read_model, pool_size=5) as made:
        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that the last of them does not run alone when all others have ended."""
    longest = ("soak", "faults", "acceptance")
    items.sort(key=lambda item: next((n for n, name in enumerate(longest) if f"tests/{name}/" in item.nodeid), 3))


_exit_status = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_exit_status] = exitstatus


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """A process that used the Temporal client can die while the interpreter shuts down, with all tests passed."""
    if _exit_status in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[_exit_status])
