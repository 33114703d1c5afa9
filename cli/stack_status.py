"""What `status` asks beside the embedded stack's processes: the read model's database, and who else polls."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from cli.common import within
from cli.pollers import PollingWorker, polling_workers, started_by_hand
from cli.saga_calls import answered
from domain.errors import ShardwiseError
from domain.text import first_line
from shards.engines import Database
from stack.embedded.record import READ_MODEL_DATABASE
from stack.embedded.status import StackStatus
from stack.settings import Settings, resolve_databases
from stack.temporal_client import connect

ANSWER_SECONDS = 2.5

Row = tuple[str, str, str, str]
"""Of the table of `status`: part, where, pid, state."""


class ReadModelStatus(BaseModel):
    """`where` has no user and no password. `why`, where it is not up."""

    name: str
    where: str
    up: bool
    why: str | None


@dataclass(frozen=True, slots=True)
class Beside:
    """`other_workers`: those that poll and are not the stack's own; None where Temporal does not answer."""

    read_model: ReadModelStatus
    other_workers: Sequence[PollingWorker] | None

    def document(self) -> dict[str, Any]:
        others = self.other_workers
        return {
            "read_model": self.read_model.model_dump(mode="json"),
            "other_workers": [each.model_dump(mode="json") for each in others] if others is not None else None,
        }

    def rows_of_read_model(self) -> list[Row]:
        return [(self.read_model.name, self.read_model.where, "", "up" if self.read_model.up else "down")]

    def rows_of_workers(self) -> list[Row]:
        return [
            (each.identity, ", ".join(each.queues), "", f"by hand, polled {each.polled_seconds_ago:.0f} s ago")
            for each in self.other_workers or ()
        ]


async def look_beside(settings: Settings, found: StackStatus) -> Beside:
    """What does not answer within a few seconds is told as that."""
    read_model, others = await asyncio.gather(_read_model(settings), _other_workers(settings, found))
    return Beside(read_model, others)


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
    return ReadModelStatus(name=READ_MODEL_DATABASE, where=address_of(dsn), up=why is None, why=why)


async def _other_workers(settings: Settings, found: StackStatus) -> list[PollingWorker] | None:
    if not found.temporal.up:
        return None

    async def ask() -> list[PollingWorker]:
        return await polling_workers(await connect(settings))

    polling = await answered(ask())
    return started_by_hand(polling, found.workers) if polling is not None else None


def address_of(dsn: str) -> str:
    """Without user and password."""
    return dsn.rpartition("@")[2].removeprefix("postgresql://")
