"""One scratch Temporal server, started by the product's own launcher."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from temporalio.client import Client

from stack.embedded import binaries
from stack.embedded.parts import Supervisor
from stack.embedded.ports import PortClaims
from stack.embedded.record import TEMPORAL, TEMPORAL_UI, StackRecord
from stack.embedded.temporal_server import TemporalServer
from stack.settings import Settings
from stack.temporal_client import connect_to
from workers.search_attributes import register_search_attributes


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
