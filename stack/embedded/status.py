"""What runs, as `shardwise status --json` prints it. `up` means: the process lives and it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from domain.timestamps import Timestamp
from stack.embedded import processes
from stack.embedded.partition import partition_of
from stack.embedded.parts import Part
from stack.embedded.record import CATALOG_DATABASE, CATALOG_SERVER, SHARD_DATABASE, TEMPORAL, StackRecord
from stack.embedded.stack_parts import StackParts


class TemporalStatus(BaseModel):
    address: str
    ui: str
    pid: int | None
    up: bool


class ServerStatus(BaseModel):
    name: str
    dsn: str = Field(repr=False)
    """With the password of the workers' role."""
    pid: int | None
    """The postmaster: killing it takes the whole server down."""
    up: bool
    partitioned_until: Timestamp | None = None
    """It lives, and its clients cannot reach it: see `stack.embedded.partition`. Left out of documents if None."""


class ReplicaServerStatus(ServerStatus):
    shard: str


class WorkerStatus(BaseModel):
    name: str
    pid: int | None
    up: bool
    queues: list[str]


class StackStatus(BaseModel):
    temporal: TemporalStatus
    shards: list[ServerStatus]
    catalog: ServerStatus
    workers: list[WorkerStatus]
    replicas: list[ReplicaServerStatus] = Field(default_factory=list)

    def document(self, show_secrets: bool) -> dict[str, Any]:
        """As JSON. Passwords are left out unless `show_secrets`; `replicas`, if there are none."""
        document = self.model_dump(mode="json", exclude=None if self.replicas else {"replicas"})
        for shard in document["shards"]:
            if shard["partitioned_until"] is None:
                del shard["partitioned_until"]
        for server in (document["catalog"], *document.get("replicas", [])):
            del server["partitioned_until"]
        if not show_secrets:
            for server in (*document["shards"], document["catalog"], *document.get("replicas", [])):
                server["dsn"] = without_password(server["dsn"])
        return document

    @property
    def all_up(self) -> bool:
        """Replicas do not count: what is read from one can be read from its primary."""
        return all(part.up for part in self._parts())

    @property
    def any_process(self) -> bool:
        return any(part.pid is not None for part in [*self._parts(), *self.replicas])

    def _parts(self) -> Iterator[TemporalStatus | ServerStatus | WorkerStatus]:
        yield self.temporal
        yield from self.shards
        yield self.catalog
        yield from self.workers


def without_password(dsn: str) -> str:
    parts = urlsplit(dsn)
    user, at, place = parts.netloc.rpartition("@")
    return parts._replace(netloc=user.partition(":")[0] + at + place).geturl()


async def query(record: StackRecord, parts: StackParts) -> StackStatus:
    """Query all parts at once, each for a few seconds at most."""
    postgres = {server.name: server for server in parts.postgres()}
    servers: list[Part] = [parts.temporal(), *postgres.values(), *parts.replicas()]
    workers, states = await asyncio.gather(
        read_workers(record, parts), asyncio.gather(*(_state(each, record) for each in servers))
    )
    state = {each.name: found for each, found in zip(servers, states, strict=True)}

    def server(name: str, database: str) -> ServerStatus:
        return ServerStatus(name=name, dsn=record.dsn(name, database), **state[name])

    return StackStatus(
        temporal=TemporalStatus(address=record.temporal_address, ui=record.ui_url, **state[TEMPORAL]),
        shards=[_cut_off(server(name, SHARD_DATABASE), parts.data_dir) for name in record.shards],
        catalog=server(CATALOG_SERVER, CATALOG_DATABASE),
        workers=workers,
        replicas=[
            ReplicaServerStatus(name=name, shard=shard, dsn=record.dsn(name), **state[name])
            for name, shard in record.replica_servers.items()
        ],
    )


def _cut_off(server: ServerStatus, data_dir: Path) -> ServerStatus:
    found = partition_of(data_dir, server.name)
    if found is None:
        return server
    return server.model_copy(update={"partitioned_until": datetime.fromtimestamp(found.until, UTC)})


async def read_workers(record: StackRecord, parts: StackParts) -> list[WorkerStatus]:
    """Opens no connection: a worker writes a file once it polls."""
    return [
        WorkerStatus(name=worker.name, queues=worker.queues() or [], **await _state(worker, record))
        for worker in parts.workers()
    ]


class _State(TypedDict):
    pid: int | None
    up: bool


async def _state(part: Part, record: StackRecord) -> _State:
    process = processes.find(record.processes.get(part.name))
    if process is None:
        return _State(pid=None, up=False)
    return _State(pid=process.pid, up=not processes.is_stopped(process) and await part.answers())
