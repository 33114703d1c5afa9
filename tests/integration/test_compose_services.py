"""The commands and variables of docker-compose.yml, run for real on servers that stand in for the containers.

This is also the way of an installation on servers of its own: found by variables, in a namespace that a job made.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from stack.embedded import binaries
from stack.embedded.temporal_server import RETENTION_SECONDS
from stack.embedded.waiting import attempts
from stack.embedded.worker_process import READY_FILE_VARIABLE
from stack.settings import Settings
from tests.conftest import FreshDatabase, FreshNamespace
from tests.support.compose import REPOSITORY, environment, project
from tests.support.postgres import role_dsn

NAMESPACE = "shop"
SAMPLE = REPOSITORY / "cli" / "sample"
SECONDS_MAX = 60

SERVICES: dict[str, Any] = project()["services"]


@dataclass(frozen=True)
class Containers:
    """Runs a service's command with its variables, hosts and folders exchanged for those of this machine."""

    exchanged: dict[str, str]
    folder: Path

    async def run(self, service: str, *command: str) -> asyncio.subprocess.Process:
        """`command` in place of the service's own. In an empty folder, as in the container."""
        described = SERVICES[service]
        arguments = [*(command or described["command"])]
        if described["image"] == "shardwise":
            arguments = [sys.executable, "-P", "-m", "cli", *arguments]
        else:
            arguments = [*described["entrypoint"], *arguments]
        return await asyncio.create_subprocess_exec(
            *arguments,
            env=self._environment(service),
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def finish(self, service: str, *command: str) -> str:
        """What it printed; it must succeed."""
        process = await self.run(service, *command)
        out, err = await asyncio.wait_for(process.communicate(), SECONDS_MAX)
        assert process.returncode == 0, err.decode()
        return out.decode()

    def _environment(self, service: str) -> dict[str, str]:
        given = environment(SERVICES[service]) | {"TEMPORAL_NAMESPACE": NAMESPACE}
        for name, value in given.items():
            for theirs, ours in self.exchanged.items():
                value = value.replace(theirs, ours)
            given[name] = value
        path = os.pathsep.join([str(binaries.temporal_bin(Settings()).parent), os.defpath])
        return {"PATH": path, "HOME": str(self.folder), **given}


@pytest.fixture
async def temporal(fresh_namespace: FreshNamespace) -> Client:
    return await fresh_namespace()


@pytest.fixture
async def containers(temporal: Client, fresh_database: FreshDatabase, tmp_path: Path) -> Containers:
    folder = tmp_path / "empty"
    folder.mkdir()
    theirs = environment(SERVICES["worker"])
    addresses = [
        *json.loads(theirs["SHARDWISE_SHARDS"]).values(),
        theirs["SHARDWISE_CATALOG_DSN"],
        theirs["SHARDWISE_READ_MODEL_DSN"],
    ]
    owned = {address: await fresh_database() for address in addresses}
    exchanged = {address: role_dsn(dsn) for address, dsn in owned.items()}
    job = environment(SERVICES["migrate"])
    exchanged[job["SHARDWISE_MIGRATION_PASSWORD"]] = str(make_url(next(iter(owned.values()))).password)
    exchanged[theirs["TEMPORAL_ADDRESS"]] = temporal.service_client.config.target_host
    exchanged[theirs[READY_FILE_VARIABLE]] = str(tmp_path / "ready.json")
    return Containers(exchanged, folder)


async def test_the_jobs_can_be_repeated_and_the_worker_then_takes_orders(
    containers: Containers, temporal: Client
) -> None:
    for job in ("temporal-namespace", "migrate"):
        await containers.finish(job)
        await containers.finish(job)
    described = await temporal.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=NAMESPACE))
    assert described.config.workflow_execution_retention_ttl.seconds == RETENTION_SECONDS

    async with _worker(containers):
        await containers.finish("cli", "import", "customers", str(SAMPLE / "customers.csv"))
        await containers.finish("cli", "import", "products", str(SAMPLE / "products.csv"))
        placed = await containers.finish(
            "cli", "order", "place", "--customer", "ada", "--line", "TEAPOT:1", "--line", "COFFEE-1KG:2", "--json"
        )
        assert json.loads(placed)["status"] == "confirmed"
    assert list(containers.folder.iterdir()) == []


@contextlib.asynccontextmanager
async def _worker(containers: Containers) -> AsyncIterator[None]:
    """Healthy by its own check inside the block, ended as a container is after it."""
    worker = await containers.run("worker")
    (_, *check) = SERVICES["worker"]["healthcheck"]["test"]
    ready_file = SERVICES["worker"]["environment"][READY_FILE_VARIABLE]
    check = [containers.exchanged[word] if word == ready_file else word for word in check]
    try:
        async for _ in attempts(SECONDS_MAX):
            healthy = await (await asyncio.create_subprocess_exec(*check)).wait() == 0
            if healthy or worker.returncode is not None:
                break
        assert healthy
        yield
    finally:
        if worker.returncode is None:
            worker.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(worker.communicate(), SECONDS_MAX)
    assert worker.returncode == 0, err.decode()
