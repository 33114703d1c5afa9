"""What `status --json` and `up --json` show of the servers."""

from __future__ import annotations

import json

import pytest

from cli.embedded_stack import table_of_parts
from shardwise.operations.stack_status import OtherParts, ReadModelStatus
from stack.embedded.status import ServerStatus, StackStatus, TemporalStatus, without_password
from tests.support.terminal import drawn

DSN = "postgresql://shardwise_app:geheim@127.0.0.1:5433/shardwise"
WITHOUT_PASSWORD = "postgresql://shardwise_app@127.0.0.1:5433/shardwise"


def server(name: str) -> ServerStatus:
    return ServerStatus(name=name, dsn=DSN, pid=1, up=True)


STATUS = StackStatus(
    temporal=TemporalStatus(address="127.0.0.1:7233", ui="http://127.0.0.1:8233", pid=2, up=True),
    shards=[server("shard-1"), server("shard-2")],
    catalog=server("catalog"),
    workers=[],
)
BESIDE = OtherParts(
    ReadModelStatus(
        name="read_model",
        dsn="postgresql://app:pw@127.0.0.1:5434/read_model",
        where="127.0.0.1:5434/read_model",
        up=True,
        why=None,
    ),
    [],
)


def test_passwords_are_shown_only_if_they_are_asked_for() -> None:
    document = STATUS.document(show_secrets=False)
    assert [each["dsn"] for each in (*document["shards"], document["catalog"])] == [WITHOUT_PASSWORD] * 3
    assert "geheim" not in json.dumps(document)
    assert "geheim" not in repr(STATUS)
    asked = STATUS.document(show_secrets=True)
    assert [each["dsn"] for each in (*asked["shards"], asked["catalog"])] == [DSN] * 3


@pytest.mark.parametrize("width", [200, 100, 80])
def test_the_text_shows_them_too_each_on_one_line(width: int) -> None:
    assert not any("geheim" in line for line in drawn(table_of_parts(STATUS, BESIDE), width))
    asked = drawn(table_of_parts(STATUS, BESIDE, show_secrets=True), width)
    assert sum(DSN in line for line in asked) == 3
    assert max(map(len, asked)) <= width


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        (DSN, WITHOUT_PASSWORD),
        ("postgresql://db1/orders", "postgresql://db1/orders"),
        ("postgresql://app@db1/orders", "postgresql://app@db1/orders"),
        ("postgresql://a%40b:p%40ss%2Fw@[::1]:5432/o?ssl=require", "postgresql://a%40b@[::1]:5432/o?ssl=require"),
    ],
)
def test_an_address_without_its_password_is_the_same_otherwise(dsn: str, shown: str) -> None:
    assert without_password(dsn) == shown
