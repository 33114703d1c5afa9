"""Which replicas are fit to be read from, and what is shown of those that are not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Group

from cli.embedded_stack import table_of_parts
from cli.replicas import rendered
from domain.replicas import LeftOut, ReplicaState, lag_bytes, why_left_out
from shards.monitoring.replicas import ReplicaDocument
from shardwise.operations.stack_status import OtherParts, ReadModelStatus, parts_document
from stack.embedded.status import ReplicaServerStatus, ServerStatus, StackStatus, TemporalStatus
from tests.support.terminal import drawn

DSN = "postgresql://app:geheim@127.0.0.1:5433/shardwise"
WELL = ReplicaState(in_recovery=True, streams=True, replayed=1000, sent=1000, seconds=0.5)
FIT = ReplicaDocument(
    name="shard-1-replica-1",
    shard="shard-1",
    weight=2,
    fit=True,
    left_out=None,
    why=None,
    streaming=True,
    lag_bytes=12_345,
    lag_seconds=0.25,
)
AWAY = ReplicaDocument(
    name="shard-1-replica-2",
    shard="shard-1",
    weight=1,
    fit=False,
    left_out=LeftOut.NOT_STREAMING,
    why="it does not stream from its primary",
    streaming=False,
    lag_bytes=None,
    lag_seconds=None,
)


@pytest.mark.parametrize(
    ("state", "behind", "left_out"),
    [
        (WELL, 0, None),
        (WELL, 100, None),
        (WELL, 101, LeftOut.LAGGING),
        (WELL, None, LeftOut.LAG_UNKNOWN),
        (replace(WELL, streams=False), 0, LeftOut.NOT_STREAMING),
        (replace(WELL, streams=None), 0, LeftOut.NOT_VISIBLE),
        (replace(WELL, in_recovery=False, streams=False, replayed=None), None, LeftOut.NOT_IN_RECOVERY),
    ],
)
def test_what_streams_and_is_not_too_far_behind_is_fit(
    state: ReplicaState, behind: int | None, left_out: LeftOut | None
) -> None:
    assert why_left_out(state, behind, 100) == left_out


@pytest.mark.parametrize(
    ("primary", "replayed", "behind"),
    [
        (1000, 1000, 0),
        (1000, 900, 100),
        (1000, 1200, 0),
        (8192 + 24, 8192, 0),
        (2**24 + 40, 2**24, 0),
        (1041, 1000, 41),
    ],
)
def test_the_header_of_a_page_is_no_lag_nor_is_what_came_after_the_look(
    primary: int, replayed: int, behind: int
) -> None:
    assert lag_bytes(primary, replayed) == behind


@pytest.mark.parametrize("width", [80, 120])
def test_a_person_is_told_lag_weight_and_why_one_is_left_out(width: int) -> None:
    lines = drawn(Group(*rendered([FIT, AWAY])), width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert "shard-1-replica-1 │ 12,345 bytes, 0.2 s │ 2 │ fit" in text
    assert "shard-1-replica-2 │ ? │ 1 │ left out" in text
    assert "left out of reads: shard-1-replica-2: it does not stream from its primary" in text


def test_nothing_is_shown_where_there_are_none() -> None:
    assert list(rendered([])) == []


def server(name: str) -> ServerStatus:
    return ServerStatus(name=name, dsn=DSN, pid=1, up=True)


def status(*replicas: ReplicaServerStatus) -> StackStatus:
    temporal = TemporalStatus(address="127.0.0.1:7233", ui="http://127.0.0.1:8233", pid=2, up=True)
    return StackStatus(
        temporal=temporal, shards=[server("shard-1")], catalog=server("catalog"), workers=[], replicas=[*replicas]
    )


def beside(*replicas: ReplicaDocument) -> OtherParts:
    read_model = ReadModelStatus(name="read_model", dsn=DSN, where="127.0.0.1:5433/read_model", up=True, why=None)
    return OtherParts(read_model, [], replicas)


def test_a_document_joins_process_and_lag_and_shows_no_password() -> None:
    down = ReplicaServerStatus(name=AWAY.name, shard="shard-1", dsn=DSN, pid=None, up=False)
    found = status(ReplicaServerStatus(name=FIT.name, shard="shard-1", dsn=DSN, pid=7, up=True), down)
    first, second = parts_document(found, beside(FIT, AWAY))["replicas"]
    assert (first["pid"], first["up"], first["lag_bytes"], first["weight"]) == (7, True, 12_345, 2)
    assert (second["up"], second["left_out"], second["fit"]) == (False, "not_streaming", False)
    assert first["dsn"] == "postgresql://app@127.0.0.1:5433/shardwise"
    assert parts_document(found, beside(FIT, AWAY), show_secrets=True)["replicas"][0]["dsn"] == DSN
    assert found.all_up
    assert "geheim" not in "".join(drawn(table_of_parts(found, beside(FIT, AWAY)), 120))


def test_a_stack_without_replicas_tells_what_it_told_before() -> None:
    found = status()
    assert "replicas" not in parts_document(found, beside())
    assert "replica" not in "".join(drawn(table_of_parts(found, beside()), 120))
