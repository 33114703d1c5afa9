"""A scratch Temporal server, started by the product's own launcher, and namespaces on a running one."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client, WorkflowHandle

from stack.embedded import binaries
from stack.embedded.parts import Supervisor
from stack.embedded.ports import PortClaims
from stack.embedded.record import TEMPORAL, TEMPORAL_UI, StackRecord
from stack.embedded.temporal_server import RETENTION_SECONDS, TemporalServer
from stack.settings import Settings
from stack.temporal_client import connect_to
from workers.migration.search_attributes import register_search_attributes

_numbers = itertools.count(1)


@contextlib.asynccontextmanager
async def scratch_temporal(folder: Path) -> AsyncIterator[Client]:
    """A client of it, with our search attributes registered."""
    claims = PortClaims()
    ports = {name: claims.choose(usual=None) for name in (TEMPORAL, TEMPORAL_UI)}
    record = StackRecord(shards=[], ports=ports)
    server = TemporalServer(folder, folder / "temporal.log", lambda: binaries.temporal_bin(Settings()), record)
    supervisor = Supervisor(folder, record, lambda _: None)
    try:
        await supervisor.start(server)
        claims.release()
        client = await connect_to({"target_host": record.temporal_address}, timeout_seconds=10)
        await register_search_attributes(client)
        yield client
    finally:
        await supervisor.stop(server)


async def new_namespace(address: str) -> Client:
    """A client in a namespace that nobody else uses, with our search attributes registered."""
    name = f"tests-{os.getpid()}-{next(_numbers)}"
    anywhere = await connect_to({"target_host": address}, timeout_seconds=10)
    kept = Duration(seconds=RETENTION_SECONDS)
    request = RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=kept)
    await anywhere.workflow_service.register_namespace(request)
    client = await connect_to({"target_host": address, "namespace": name}, timeout_seconds=10)
    await register_search_attributes(client)
    return client


async def course_of(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """How the workflow ended, and when."""
    events = (await handle.fetch_history()).events
    return [
        f"{each.event_time.ToDatetime():%X.%f} {EventType.Name(each.event_type).removeprefix('EVENT_TYPE_')}"
        for each in events
    ]
