"""The status of the embedded stack: its processes, the read model, and workers started by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, SecretStr

from domain.errors import InvalidInput, NotMigrated, ShardwiseError, Unreachable
from domain.in_doubt import InDoubt
from domain.text import first_line
from shards.connections.cluster import Cluster
from shards.connections.database import Database
from shards.connections.waiting import within
from shards.monitoring.event_lag import EventsDocument, events_document
from shards.monitoring.replicas import ReplicaDocument, replica_documents
from shardwise.operations.in_doubt import overdue_in_doubt
from shardwise.temporal.calls import answer_or_none
from shardwise.temporal.pollers import PollingWorker, polling_workers, started_by_hand
from stack.embedded.record import READ_MODEL_DATABASE
from stack.embedded.stack import EmbeddedStack
from stack.embedded.status import StackStatus, without_password
from stack.settings import Settings, resolve_databases
from stack.temporal_client import connect

ANSWER_SECONDS = 2.5

Row = tuple[str, str, str, str]
"""In the table of `status`: part, where, pid, state."""


class ReadModelStatus(BaseModel):
    """`where` has no user and no password, `dsn` has both. `why`: if it is not up, the reason."""

    name: str
    dsn: SecretStr
    where: str
    up: bool
    why: str | None


@dataclass(frozen=True, slots=True)
class OtherParts:
    """`other_workers`: those that poll and are not the stack's own; None if Temporal does not answer. `replicas`: how
    the stack's replicas do."""

    read_model: ReadModelStatus
    other_workers: Sequence[PollingWorker] | None
    replicas: Sequence[ReplicaDocument] = ()

    def document(self, show_secrets: bool = False) -> dict[str, Any]:
        """As JSON. The password is left out unless `show_secrets`."""
        others, read_model = self.other_workers, self.read_model.model_dump(mode="json")
        dsn = self.read_model.dsn.get_secret_value()
        read_model["dsn"] = dsn if show_secrets else without_password(dsn)
        return {
            "read_model": read_model,
            "other_workers": [each.model_dump(mode="json") for each in others] if others is not None else None,
        }

    def rows_of_read_model(self, show_secrets: bool = False) -> list[Row]:
        where = self.read_model.dsn.get_secret_value() if show_secrets else self.read_model.where
        return [(self.read_model.name, where, "", "up" if self.read_model.up else "down")]

    def rows_of_workers(self) -> list[Row]:
        return [
            (each.identity, ", ".join(each.queues), "", f"by hand, polled {each.polled_seconds_ago:.0f} s ago")
            for each in self.other_workers or ()
        ]


async def look_at_other_parts(settings: Settings, found: StackStatus) -> OtherParts:
    """A part that does not answer within a few seconds is reported as down."""
    read_model, others, replicas = await asyncio.gather(
        _read_model(settings), _other_workers(settings, found), _replicas(settings, found)
    )
    return OtherParts(read_model, others, replicas)


def parts_document(found: StackStatus, other_parts: OtherParts, show_secrets: bool = False) -> dict[str, Any]:
    """All parts as JSON. A replica has what is known of its process, and how it does."""
    document = {**found.document(show_secrets), **other_parts.document(show_secrets)}
    if found.replicas:
        looks: Mapping[str, dict[str, Any]] = {each.name: each.model_dump(mode="json") for each in other_parts.replicas}
        document["replicas"] = [server | looks.get(server["name"], {}) for server in document["replicas"]]
    return document


async def _read_model(settings: Settings) -> ReadModelStatus:
    dsn = resolve_databases(settings).read_model
    database = Database(READ_MODEL_DATABASE, dsn, pool_size=1)
    why = None
    try:
        await within(database.ping(), ANSWER_SECONDS)
    except TimeoutError:
        why = f"no answer within {ANSWER_SECONDS:g} s"
    except ShardwiseError as error:
        why = first_line(error.message)
    finally:
        await database.close()
    return ReadModelStatus(name=READ_MODEL_DATABASE, dsn=SecretStr(dsn), where=address_of(dsn), up=why is None, why=why)


async def _other_workers(settings: Settings, found: StackStatus) -> list[PollingWorker] | None:
    if not found.temporal.up:
        return None

    async def connect_and_list() -> list[PollingWorker]:
        return await polling_workers(await connect(settings))

    polling = await answer_or_none(connect_and_list())
    return started_by_hand(polling, found.workers) if polling is not None else None


async def _replicas(settings: Settings, found: StackStatus) -> list[ReplicaDocument]:
    if not found.replicas:
        return []
    databases = resolve_databases(settings)
    async with Cluster(
        databases.shards, databases.catalog, databases.read_model, pool_size=1, replicas=databases.replicas
    ) as cluster:
        return await replica_documents(cluster, settings.replica_lag_bytes_max)


def address_of(dsn: str) -> str:
    """Without user and password."""
    return dsn.rpartition("@")[2].removeprefix("postgresql://")


@dataclass(frozen=True, slots=True)
class StackReport:
    """`in_doubt`: for longer than the setting allows. `events` None: the read model does not answer, or does not exist
    yet."""

    parts: StackStatus
    other_parts: OtherParts
    in_doubt: list[InDoubt]
    events: EventsDocument | None

    @property
    def all_up(self) -> bool:
        return self.parts.all_up and self.other_parts.read_model.up

    @property
    def alarm(self) -> bool:
        return bool(self.in_doubt) or (self.events is not None and self.events.alarm)

    def document(self, show_secrets: bool = False) -> dict[str, Any]:
        return {
            **parts_document(self.parts, self.other_parts, show_secrets),
            "in_doubt": [asdict(each) for each in self.in_doubt],
            "events": self.events.model_dump(mode="json") if self.events else None,
        }


async def stack_report(settings: Settings) -> StackReport:
    """Of the embedded stack: whether each part is up, and the workers that were started by hand."""
    found = await EmbeddedStack(settings.data_dir, settings).status()
    other_parts = await look_at_other_parts(settings, found)
    return StackReport(found, other_parts, await overdue_in_doubt(settings, found), await _events(settings, found))


async def _events(settings: Settings, found: StackStatus) -> EventsDocument | None:
    databases = resolve_databases(settings)
    up = {each.name for each in found.shards if each.up}
    shards = {name: dsn for name, dsn in databases.shards.items() if name in up}
    if not found.catalog.up:
        return None
    async with Cluster(shards, databases.catalog, databases.read_model, pool_size=2) as cluster:
        with suppress(Unreachable, NotMigrated, InvalidInput):
            return await events_document(cluster, settings.lag_alarm_seconds)
    return None
