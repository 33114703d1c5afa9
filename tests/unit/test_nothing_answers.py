"""Servers where nothing listens: the error names which one, in plain words, and what starts the embedded stack."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cli.main import run
from cli.terminal.hints import command_as_typed
from domain.errors import Unreachable
from domain.outages import why_unreachable
from shards.connections.database import Database
from stack.embedded.record import StackRecord
from stack.temporal_client import connect_to

# Of drivers and operating systems.
PROSE = ("Errno", "errno", "Error", "tonic", "Os {", "tcp connect", "Connect call")


@pytest.fixture
def deaf_ports() -> Iterator[list[int]]:
    """Ports that are taken, so that nobody else can listen there, and where nothing listens."""
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.socket()) for _ in range(6)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        yield [each.getsockname()[1] for each in sockets]


@pytest.fixture
def stack_down(tmp_path: Path, deaf_ports: list[int]) -> Path:
    """The folder of a stack that was made, and does not run."""
    parts = ["shard-1", "shard-2", "catalog", "temporal", "temporal-ui"]
    record = StackRecord(shards=parts[:2], ports=dict(zip(parts, deaf_ports, strict=False)))
    record.create_role_password()
    record.save(tmp_path)
    return tmp_path


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("SHARDWISE_SHARDS", "SHARDWISE_DATA_DIR", "SHARDWISE_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_database_where_nothing_listens(deaf_ports: list[int], host: str) -> None:
    database = Database("shard-1", f"postgresql://app:secret@{host}:{deaf_ports[0]}/shardwise")
    with pytest.raises(Unreachable) as caught:
        await database.ping()
    assert caught.value.message == f"shard-1 does not answer: nothing listens on {host}:{deaf_ports[0]}"
    await database.close()


async def test_a_temporal_where_nothing_listens(deaf_ports: list[int]) -> None:
    address = f"127.0.0.1:{deaf_ports[0]}"
    with pytest.raises(Unreachable) as caught:
        await connect_to({"target_host": address}, 10)
    assert caught.value.message == f"Temporal at {address} does not answer: nothing listens on its address"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Timeout expired", "no answer in time"),
        ("transport error", "no connection to it"),
        ('Server error: Status { code: PermissionDenied, message: "Request unauthorized." }', "Request unauthorized."),
        ("Namespace shop is not found.\nmore", "Namespace shop is not found."),
    ],
)
def test_what_temporal_itself_says_is_kept(said: str, shown: str) -> None:
    assert why_unreachable(said) == shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["account", "show", "ada"],
        ["order", "show", "1"],
        ["order", "list"],
        ["order", "place", "--customer", "ada", "--line", "TEAPOT:1"],
        ["transfer", "ada", "alan", "1.00"],
        ["verify"],
        ["migrate"],
    ],
    ids=" ".join,
)
def test_a_command_says_what_is_not_reachable_and_what_starts_it(
    stack_down: Path, no_settings: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert run([*arguments, "--data-dir", str(stack_down), "--json"]) == 3
    message = json.loads(capfd.readouterr().out)["error"]["message"]
    assert " does not answer: nothing listens on " in message
    up = f"`{command_as_typed()} up --detach --data-dir {stack_down}`"
    assert message.endswith(f"; the stack in {stack_down} is down: {up} starts it")
    assert not [each for each in PROSE if each in message]

    no_settings.setenv("SHARDWISE_DATA_DIR", str(stack_down))
    assert run([*arguments, "--json"]) == 3
    assert json.loads(capfd.readouterr().out)["error"]["message"].endswith("up --detach` starts it")


def test_one_s_own_servers_are_not_started_by_us(
    deaf_ports: list[int], no_settings: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    dsn = f"postgresql://app:secret@127.0.0.1:{deaf_ports[0]}/shardwise"
    no_settings.setenv("SHARDWISE_SHARDS", json.dumps({"shard-1": dsn}))
    no_settings.setenv("SHARDWISE_CATALOG_DSN", dsn)
    no_settings.setenv("SHARDWISE_READ_MODEL_DSN", dsn)
    assert run(["account", "show", "ada", "--json"]) == 3
    message = json.loads(capfd.readouterr().out)["error"]["message"]
    assert message == f"catalog does not answer: nothing listens on 127.0.0.1:{deaf_ports[0]}"


def test_a_look_at_what_is_down_is_in_words_for_a_person(
    stack_down: Path, no_settings: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["watch", "--once", "--interval", "0.2", "--data-dir", str(stack_down), "--json"]) == 3
    found = json.loads(capfd.readouterr().out)
    reasons = [*found["missing"].values(), *(each["why"] for each in found["parts"] if each["kind"] != "worker")]
    assert len(reasons) > 5
    assert not [(each, prose) for each in reasons for prose in PROSE if prose in each]


def test_the_debug_log_has_the_whole_cause(
    stack_down: Path, no_settings: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    no_settings.setenv("SHARDWISE_LOG_LEVEL", "DEBUG")
    assert run(["account", "show", "ada", "--data-dir", str(stack_down)]) == 3
    assert "ConnectionRefusedError" in capfd.readouterr().err
