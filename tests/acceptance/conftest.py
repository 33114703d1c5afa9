"""One installation with a worker for the session, on the run's own servers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import FreshCluster, FreshNamespace
from tests.support.command import Shardwise, on_own_servers

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="session")
async def shardwise(
    fresh_cluster: FreshCluster, fresh_namespace: FreshNamespace, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shardwise]:
    """With one worker and the sample of tests/data."""
    async with fresh_cluster() as databases:
        command = on_own_servers(tmp_path_factory.mktemp("installation"), databases, await fresh_namespace())
        assert command.inside("migrate").exit_code == 0
        with command.working():
            assert command.inside("import", "customers", str(DATA / "customers.csv")).exit_code == 0
            assert command.inside("import", "products", str(DATA / "products.csv")).exit_code == 0
            yield command
