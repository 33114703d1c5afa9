"""The shared world of the integration tests: see `tests.support.world`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from tests.support.restoring import RestoredServer, running
from tests.support.world import World, lasting_world


@pytest.fixture(scope="session")
async def world(postgres_server: str, migrated_templates: Mapping[str, str]) -> AsyncIterator[World]:
    """Three shards with a shop on them, for the whole session. Each test makes customers and goods of its own."""
    async with lasting_world(postgres_server, migrated_templates) as made:
        yield made


@pytest.fixture(scope="session")
async def restored_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RestoredServer]:
    """A Postgres server that a test can set back to an earlier state of its own: see `tests.support.restoring`."""
    async with running(tmp_path_factory.mktemp("restored")) as server:
        yield server
