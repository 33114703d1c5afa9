"""The Temporal development server with its UI and a store in one file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from domain.errors import Unreachable
from stack.embedded.parts import Part
from stack.embedded.record import LOOPBACK, TEMPORAL, TEMPORAL_UI, StackRecord
from stack.temporal_client import NAMESPACE, connect_to

ANSWER_SECONDS = 3.0
RETENTION_SECONDS = 30 * 24 * 3600
STORE = "temporal.db"


class TemporalServer(Part):
    def __init__(self, data_dir: Path, log: Path, program: Callable[[], Path], record: StackRecord) -> None:
        super().__init__(TEMPORAL, data_dir / TEMPORAL, log)
        self._program = program
        self._record = record

    @property
    def ports(self) -> list[int]:
        return [self._record.ports[TEMPORAL], self._record.ports[TEMPORAL_UI]]

    def prepare(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if TEMPORAL not in self._record.made:
            # If the server was killed while it created its store, it takes that store for a complete one, and fails.
            for file in self.folder.glob(STORE + "*"):
                file.unlink()

    def command(self) -> list[str]:
        port, ui_port = self.ports
        return [
            *(str(self._program()), "server", "start-dev"),
            *("--ip", LOOPBACK, "--port", str(port)),
            *("--ui-ip", LOOPBACK, "--ui-port", str(ui_port), "--ui-disable-news-fetch"),
            *("--db-filename", str(self.folder / STORE)),
            # The defaults sync at every write, which costs two thirds of the speed. With these a power cut may lose the
            # last moments of Temporal's history, never its consistency; a kill loses nothing.
            *("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"),
            # By default it polls so rarely that every step waits for the next multiple of 50 ms.
            *("--dynamic-config-value", "history.transferProcessorMaxPollRPS=2000"),
            # A user's own configuration must not affect this server.
            *("--disable-config-file", "--disable-config-env", "--env-file", str(self.folder / "no-environment.yaml")),
            *("--log-level", "warn", "--color", "never"),
        ]

    def environment(self) -> Mapping[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
        # It refuses to run for a user without a name, as containers have, unless these two are set.
        person = {"USER": "shardwise", "HOME": str(self.folder)}
        return person | inherited | {"TEMPORAL_VERSION_CHECK_DISABLED": "1"}

    async def answers(self) -> bool:
        try:
            await self._retention_seconds(await self._client())
        except (Unreachable, RPCError):
            return False
        return await _listens(self.ports[1])

    async def finish_start(self) -> None:
        client = await self._client()
        if await self._retention_seconds(client) != RETENTION_SECONDS:
            config = NamespaceConfig(workflow_execution_retention_ttl=Duration(seconds=RETENTION_SECONDS))
            await client.workflow_service.update_namespace(UpdateNamespaceRequest(namespace=NAMESPACE, config=config))

    async def _client(self) -> Client:
        return await connect_to({"target_host": self._record.temporal_address}, ANSWER_SECONDS)

    async def _retention_seconds(self, client: Client) -> int:
        described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=NAMESPACE))
        return described.config.workflow_execution_retention_ttl.seconds


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(LOOPBACK, port), ANSWER_SECONDS)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
