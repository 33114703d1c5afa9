"""One installation with a worker for the session, on the run's own servers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import FreshCluster, FreshNamespace
from tests.support.command import Shardwise, on_own_servers
from tests.support.installation import Installation
from tests.support.secrecy import assert_files_secret_free, assert_histories_secret_free

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="session")
async def shardwise(
    fresh_cluster: FreshCluster, fresh_namespace: FreshNamespace, installation: Installation
) -> AsyncIterator[Shardwise]:
    """With one worker and the sample of tests/data."""
    folder = installation.stacks / f"own-servers-{os.getpid()}"
    folder.mkdir()
    async with fresh_cluster() as databases:
        temporal = await fresh_namespace()
        command = on_own_servers(folder, databases, temporal)
        assert command.inside("migrate").exit_code == 0
        with command.working():
            assert command.inside("import", "customers", str(DATA / "customers.csv")).exit_code == 0
            assert command.inside("import", "products", str(DATA / "products.csv")).exit_code == 0
            yield command
        assert_files_secret_free([folder / "worker.log"], command.secrets)
        await assert_histories_secret_free(temporal, command.secrets)
