"""Which pollers of a queue are workers that were started by hand."""

from __future__ import annotations

import os

from pydantic import SecretStr
from rich.console import Group

from cli.embedded_stack import table_of_parts
from shardwise.operations.stack_status import OtherParts, ReadModelStatus, address_of
from shardwise.temporal.pollers import PollingWorker, started_by_hand
from stack.embedded.status import ServerStatus, StackStatus, TemporalStatus, WorkerStatus
from tests.support.terminal import drawn

# No process has a pid as high as this.
GONE = 2**30


def polling(identity: str, *queues: str) -> PollingWorker:
    return PollingWorker(identity=identity, queues=list(queues) or ["orders"], polled_seconds_ago=3.0)


def test_embedded_ones_and_their_dead_predecessors_are_distinguished() -> None:
    embedded = [WorkerStatus(name="worker-1", pid=os.getpid(), up=True, queues=["orders"])]
    mine, dead = polling(f"worker-1@{os.getpid()}"), polling(f"worker-1@{GONE}")
    by_hand = [polling(f"{GONE}@elsewhere"), polling(f"payroll@{GONE}"), polling(f"worker-2@{GONE}")]
    assert started_by_hand([mine, dead, *by_hand], embedded) == by_hand
    assert started_by_hand([mine], []) == [mine]


def test_status_has_a_row_for_the_read_model_and_for_each_worker_by_hand() -> None:
    server = {"dsn": "postgresql://u:secret@127.0.0.1:5440/shardwise", "pid": 1, "up": True}
    found = StackStatus(
        temporal=TemporalStatus(address="127.0.0.1:7233", ui="http://127.0.0.1:8233", pid=1, up=True),
        shards=[ServerStatus(name=f"shard-{n}", **server) for n in range(1, 4)],
        catalog=ServerStatus(name="catalog", **server),
        workers=[WorkerStatus(name="worker-1", pid=1, up=True, queues=["orders", "transfers", "outbox"])],
    )
    queues = ["orders", "inventory", "payment", "shipping", "transfers", "outbox"]
    dsn = "postgresql://u:secret@127.0.0.1:5440/read_model"
    read_model = ReadModelStatus(
        name="read_model", dsn=SecretStr(dsn), where=address_of(dsn), up=False, why="it is gone"
    )
    beside = OtherParts(read_model, [polling("4242@a-machine-with-a-long-name.example.org", *queues)])
    lines = drawn(Group(table_of_parts(found, beside)), 100)
    assert max(map(len, lines)) <= 100
    [row] = [line for line in lines if "read_model" in line]
    assert "127.0.0.1:5440/read_model" in row
    assert "down" in row
    assert any("4242@a-machine-with-a-long-name.example.org" in line for line in lines)
    assert "by hand" in " ".join(lines)
    assert "secret" not in "".join(lines)
    assert beside.document()["other_workers"][0]["queues"] == queues
