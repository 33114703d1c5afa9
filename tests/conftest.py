"""Fixtures on the run's real servers: each test has databases, and a Temporal namespace, of its own on them."""

from __future__ import annotations

import gc
import itertools
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from xdist.scheduler import LoadScopeScheduling

from shards.connections.cluster import Cluster
from stack.settings import Databases
from tests.support import stuck
from tests.support.installation import Installation, Keeper
from tests.support.installation import installation as wait_for_installation
from tests.support.postgres import create_databases, drop_databases, lasting_databases, sibling
from tests.support.temporal import new_namespace

FreshDatabase = Callable[[], Awaitable[str]]
FreshCluster = Callable[[], AbstractAsyncContextManager[Databases]]
FreshNamespace = Callable[[], Awaitable[Client]]

_numbers = itertools.count(1)
_keeper = pytest.StashKey[Keeper]()


def pytest_configure(config: pytest.Config) -> None:
    """Where tests run in processes of their own, the one that gives them out starts the servers for all of them, while
    they are still collecting."""
    processes = config.getoption("tx", default=[])
    if processes and not config.getoption("collectonly"):
        config.stash[_keeper] = Keeper(len(processes))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    if _keeper in node.config.stash:
        node.workerinput["installation"] = str(node.config.stash[_keeper].folder)


@pytest.fixture(scope="session")
def installation(pytestconfig: pytest.Config) -> Installation:
    """The servers, and what this process has on them."""
    given = getattr(pytestconfig, "workerinput", None)
    if given is not None:
        return wait_for_installation(Path(given["installation"]), int(given["workerid"].removeprefix("gw")))
    if _keeper not in pytestconfig.stash:
        pytestconfig.stash[_keeper] = Keeper(1)
    return wait_for_installation(pytestconfig.stash[_keeper].folder, 0)


@pytest.fixture(scope="session")
def postgres_server(installation: Installation) -> str:
    """The DSN of the maintenance database of this process's server."""
    return installation.postgres


@pytest.fixture(scope="session")
def fresh_namespace(installation: Installation) -> FreshNamespace:
    """A client in a new namespace of the run's Temporal server at each call."""
    return lambda: new_namespace(installation.temporal)


@pytest.fixture
async def fresh_database(postgres_server: str) -> AsyncIterator[FreshDatabase]:
    """Makes an empty database at each call; all are dropped after the test."""
    made: list[str] = []

    async def make() -> str:
        made.append(f"fresh_{os.getpid()}_{next(_numbers)}")
        await create_databases(postgres_server, {made[-1]: "template0"})
        return sibling(postgres_server, made[-1])

    yield make
    await drop_databases(postgres_server, made)


@pytest.fixture(scope="session")
def migrated_templates(installation: Installation) -> dict[str, str]:
    """See `tests.support.postgres.migrated_templates`."""
    return installation.templates


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


_LONGEST = ("tests/faults/test_battery", "tests/embedded/", "tests/soak/", "tests/faults/", "tests/acceptance/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that the last of them does not run alone when all others have ended."""
    items.sort(key=lambda item: next((n for n, name in enumerate(_LONGEST) if name in item.nodeid), len(_LONGEST)))


def pytest_collection_finish() -> None:
    """Thousands of tests and all that they import stay until the end: the garbage collector need not look at them."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    return _Sharing(config, log) if config.getoption("dist") == "loadfile" else None


class _Sharing(LoadScopeScheduling):
    """A file runs in one process, and so do the files of a folder that share an installation."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folders = ("tests/embedded", "tests/acceptance")
        return next((folder for folder in folders if file.startswith(f"{folder}/")), file)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and "from pytest-timeout" in str(call.excinfo.value):
        report.sections.append(("What the tasks wait for", stuck.tasks_and_frames()))
    return report


_exit_status = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_exit_status] = exitstatus


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends the servers. A process that used the Temporal client can die while the interpreter shuts down, with all
    tests passed."""
    if _keeper in config.stash:
        config.stash[_keeper].end()
    if _exit_status in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[_exit_status])
