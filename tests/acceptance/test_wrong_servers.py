"""Settings that lead to the wrong servers: reported in seconds, by the right exit code, and nothing changed.

Run inside this process.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from cli.main import run
from stack.embedded.record import OWNER
from stack.settings import Databases
from tests.support.command import Shardwise

SECONDS_MAX = 30
CUSTOMERS = Path(__file__).parent.parent / "data" / "customers.csv"
ORDERS = Path(__file__).parent.parent / "data" / "orders.jsonl"

READS = (["order", "show", "nothing"], ["account", "show", "rich"], ["stock", "show", "APPLE"])
WRITES = (
    ["order", "place", "--customer", "rich", "--line", "APPLE:1"],
    ["stock", "receive", "APPLE", "1"],
    ["import", "customers", str(CUSTOMERS)],
    ["import", "orders", str(ORDERS)],
)
WHOLE = (["verify"], ["recover", "--dry-run"], ["migrate"], ["worker"])


@dataclass
class Addresses:
    """Where the servers really are. `use` has commands look for them there."""

    right: Databases
    temporal: str
    environment: pytest.MonkeyPatch

    def all_shards(self, **changes: Any) -> dict[str, str]:
        return {name: changed(dsn, **changes) for name, dsn in self.right.shards.items()}

    def use(
        self,
        shards: dict[str, str] | None = None,
        catalog: str | None = None,
        read_model: str | None = None,
        temporal: str | None = None,
    ) -> None:
        self.environment.setenv("SHARDWISE_SHARDS", json.dumps(shards or self.right.shards))
        self.environment.setenv("SHARDWISE_CATALOG_DSN", catalog or self.right.catalog)
        self.environment.setenv("SHARDWISE_READ_MODEL_DSN", read_model or self.right.read_model)
        self.environment.setenv("TEMPORAL_ADDRESS", temporal or self.temporal)


def changed(dsn: str, **changes: Any) -> str:
    return make_url(dsn).set(**changes).render_as_string(hide_password=False)


@pytest.fixture
def addresses(shardwise: Shardwise, monkeypatch: pytest.MonkeyPatch) -> Addresses:
    for name in ("TEMPORAL_CONFIG_FILE", "TEMPORAL_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", shardwise.own_servers["TEMPORAL_NAMESPACE"])
    return Addresses(shardwise.databases, shardwise.own_servers["TEMPORAL_ADDRESS"], monkeypatch)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def web_port() -> Iterator[int]:
    """Of a server that speaks something else."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[method-assign]
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    with contextlib.closing(server.socket):
        yield server.server_address[1]
        server.shutdown()
        serving.join()


def refused(capfd: pytest.CaptureFixture[str], arguments: list[str], code: int) -> dict[str, Any]:
    """The error document of a command that must end with `code`."""
    capfd.readouterr()
    started = time.monotonic()
    found = run([*arguments, "--json"])
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    assert found == code, (arguments, found, out[:500], err[:500])
    assert time.monotonic() - started < SECONDS_MAX
    error: dict[str, Any] = json.loads(out)["error"]
    assert error["code"] not in ("internal", "database_error")
    assert "unexpected" not in error["message"]
    return error


def test_servers_named_rightly_are_the_same_installation(
    addresses: Addresses, capfd: pytest.CaptureFixture[str], shardwise: Shardwise
) -> None:
    addresses.use()
    assert run(["account", "show", "rich", "--json"]) == 0
    shown = json.loads(capfd.readouterr().out)
    del shown["read"]
    assert shown == shardwise.inside("account", "show", "rich").content


@pytest.mark.parametrize("arguments", [*READS, *WRITES, *WHOLE], ids=" ".join)
def test_a_database_or_a_password_that_does_not_exist(
    addresses: Addresses, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    addresses.use(catalog=changed(addresses.right.catalog, database="nowhere"))
    assert 'catalog: database "nowhere" does not exist' in refused(capfd, arguments, 2)["message"]
    addresses.use(shards=addresses.all_shards(password="wrong"))
    assert "password authentication failed" in refused(capfd, arguments, 2)["message"]


def test_an_owner_s_wrong_password_is_reported_with_its_variable(
    addresses: Addresses, capfd: pytest.CaptureFixture[str]
) -> None:
    addresses.use()
    addresses.environment.setenv("SHARDWISE_MIGRATION_USER", OWNER)
    addresses.environment.setenv("SHARDWISE_MIGRATION_PASSWORD", "wrong")
    message = refused(capfd, ["migrate"], 2)["message"]
    assert "password authentication failed" in message
    assert "SHARDWISE_MIGRATION_PASSWORD" in message


@pytest.mark.parametrize("arguments", [*READS, *WRITES, *WHOLE], ids=" ".join)
def test_swapped_shards_are_refused(
    addresses: Addresses, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    one, two, three = addresses.right.shards
    dsns = addresses.right.shards
    addresses.use(shards={one: dsns[two], two: dsns[three], three: dsns[one]})
    assert "are their addresses swapped?" in refused(capfd, arguments, 2)["message"]


@pytest.mark.parametrize("arguments", [*READS, *WRITES, *WHOLE], ids=" ".join)
def test_a_shard_left_out_is_reported(
    addresses: Addresses, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    one, two, _ = addresses.right.shards
    addresses.use(shards={name: addresses.right.shards[name] for name in (one, two)})
    assert (
        "shard-1, shard-2, shard-3, but the settings name shard-1, shard-2" in refused(capfd, arguments, 2)["message"]
    )


@pytest.mark.parametrize("arguments", [*READS, *WRITES, ["verify"], ["recover"], ["worker"]], ids=" ".join)
def test_a_database_of_another_kind_lacks_the_tables(
    addresses: Addresses, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    addresses.use(catalog=addresses.right.read_model, read_model=addresses.right.catalog)
    assert refused(capfd, arguments, 2 if arguments == ["worker"] else 3)["code"] in (
        "not_migrated",
        "unknown_revision",
    )
    addresses.use(shards=addresses.all_shards(database="postgres"))
    assert refused(capfd, arguments, 3)["code"] == "not_migrated"


@pytest.mark.parametrize("arguments", [*READS, *WRITES, *WHOLE], ids=" ".join)
def test_a_server_that_never_answers_is_given_up_in_seconds(
    addresses: Addresses,
    capfd: pytest.CaptureFixture[str],
    silent_port: int,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if arguments not in READS:
        # They wait by the same limit.
        monkeypatch.setattr("shards.connections.database.CONNECT_SECONDS", 0.3)
    addresses.use(catalog=changed(addresses.right.catalog, port=silent_port))
    assert "catalog does not answer" in refused(capfd, arguments, 3)["message"]


def test_a_server_that_is_no_postgres(addresses: Addresses, capfd: pytest.CaptureFixture[str], web_port: int) -> None:
    addresses.use(shards=addresses.all_shards(port=web_port))
    assert "shard-1 does not answer" in refused(capfd, ["stock", "show", "APPLE"], 3)["message"]


@pytest.mark.parametrize("arguments", [WRITES[0], WRITES[3], *WHOLE], ids=" ".join)
def test_a_server_that_is_no_temporal(
    addresses: Addresses, capfd: pytest.CaptureFixture[str], web_port: int, arguments: list[str]
) -> None:
    addresses.use(temporal=f"127.0.0.1:{web_port}")
    assert refused(capfd, arguments, 3)["code"] == "temporal_unreachable"


def test_a_temporal_that_never_answers_is_given_up_in_seconds(
    addresses: Addresses, capfd: pytest.CaptureFixture[str], silent_port: int
) -> None:
    addresses.use(temporal=f"127.0.0.1:{silent_port}")
    assert refused(capfd, ["verify"], 3)["code"] == "temporal_unreachable"


@pytest.mark.parametrize(
    "address", ["a b:1", "127.0.0.1:99999", "\u202e:7233", ":", "[::1", "http://127.0.0.1:7233", "unix:///socket"]
)
def test_an_address_of_temporal_that_is_no_address(
    addresses: Addresses, capfd: pytest.CaptureFixture[str], address: str
) -> None:
    addresses.use(temporal=address)
    assert refused(capfd, ["verify"], 2)["field"] == "TEMPORAL_ADDRESS"


@pytest.mark.parametrize("content", [b"[[[broken", b"\xff\xfe\x00", b"[profile.default]\naddress = 5\n"])
def test_a_config_file_of_temporal_that_cannot_be_read(
    addresses: Addresses, capfd: pytest.CaptureFixture[str], tmp_path: Path, content: bytes
) -> None:
    addresses.use()
    file = tmp_path / "temporal.toml"
    file.write_bytes(content)
    addresses.environment.setenv("TEMPORAL_CONFIG_FILE", str(file))
    assert refused(capfd, ["verify"], 2)["field"] == "TEMPORAL_CONFIG_FILE"
    addresses.environment.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path))
    assert refused(capfd, ["verify"], 2)["field"] == "TEMPORAL_CONFIG_FILE"
