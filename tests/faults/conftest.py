"""Servers of the battery's own: three shards on the session's scratch server, and a Temporal server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
from temporalio.client import Client

from stack.settings import Databases
from tests.support.postgres import lasting_databases
from tests.support.temporal import scratch_temporal


@pytest.fixture(scope="module")
async def lasting_cluster(postgres_server: str, migrated_templates: Mapping[str, str]) -> AsyncIterator[Databases]:
    async with lasting_databases(postgres_server, migrated_templates) as made:
        yield made


@pytest.fixture(scope="module")
async def temporal(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    async with scratch_temporal(tmp_path_factory.mktemp("temporal")) as client:
        yield client
