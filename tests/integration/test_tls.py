"""TLS to Postgres as an address requires it, through a proxy that terminates it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from cli.main import run
from domain.errors import InvalidInput, Unreachable
from shards.connections.database import Database
from stack.settings import Databases
from tests.support.postgres import owner_of
from tests.support.tls import ANOTHER_AUTHORITY, AUTHORITY, tls_proxy
from workers.migration.migrate import Kind, Target, _in_child


@pytest.fixture
async def port(cluster_dsns: Databases) -> AsyncIterator[int]:
    async with tls_proxy(cluster_dsns.catalog) as port:
        yield port


def through(dsn: str, port: int, host: str = "localhost", **parameters: str) -> str:
    url = make_url(dsn).set(host=host, port=port, query=parameters)
    return url.render_as_string(hide_password=False)


@contextlib.asynccontextmanager
async def catalog(dsn: str) -> AsyncIterator[Database]:
    database = Database("catalog", dsn, pool_size=1)
    try:
        yield database
    finally:
        await database.close()


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_server_with_the_expected_certificate_is_used(cluster_dsns: Databases, port: int, mode: str) -> None:
    authority = {"sslrootcert": str(AUTHORITY)} if mode.startswith("verify") else {}
    async with (
        catalog(through(cluster_dsns.catalog, port, ssl=mode, **authority)) as database,
        database.transaction() as connection,
    ):
        assert await connection.scalar(text("SELECT count(*) FROM shard_map")) == 1


async def test_a_certificate_of_another_name_is_accepted_only_by_verify_ca(cluster_dsns: Databases, port: int) -> None:
    asked = {"host": "127.0.0.1", "sslrootcert": str(AUTHORITY)}
    async with catalog(through(cluster_dsns.catalog, port, ssl="verify-ca", **asked)) as database:
        await database.ping()
    async with catalog(through(cluster_dsns.catalog, port, ssl="verify-full", **asked)) as database:
        with pytest.raises(InvalidInput, match=r"IP address mismatch.*127\.0\.0\.1.*SHARDWISE_CATALOG_DSN"):
            await database.ping()


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
@pytest.mark.parametrize("authority", [ANOTHER_AUTHORITY, None], ids=["another authority", "the machine's own"])
async def test_an_unknown_authority_is_refused(
    cluster_dsns: Databases, port: int, mode: str, authority: Path | None
) -> None:
    known = {"sslrootcert": str(authority)} if authority else {}
    async with catalog(through(cluster_dsns.catalog, port, ssl=mode, **known)) as database:
        with pytest.raises(InvalidInput, match=r"the server's certificate was refused: .*SHARDWISE_CATALOG_DSN"):
            await database.ping()


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_authorities_that_cannot_be_read_are_reported_before_anything_is_asked(
    content: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(
        InvalidInput, match=r"catalog: sslrootcert cannot be read as certificates.*SHARDWISE_CATALOG_DSN"
    ):
        Database("catalog", f"postgresql://localhost:1/catalog?ssl=verify-full&sslrootcert={file}")


async def test_a_server_without_tls_is_not_used_in_clear(cluster_dsns: Databases) -> None:
    real = make_url(cluster_dsns.catalog)
    async with catalog(through(cluster_dsns.catalog, real.port or 0, str(real.host), ssl="require")) as database:
        with pytest.raises(Unreachable, match=r"rejected SSL upgrade.*SHARDWISE_CATALOG_DSN"):
            await database.ping()


async def test_migrations_go_the_same_way(cluster_dsns: Databases, port: int) -> None:
    owners = owner_of(cluster_dsns)
    async with catalog(owners.catalog) as database:
        by_tls = through(owners.catalog, port, ssl="verify-full", sslrootcert=str(AUTHORITY))
        await _in_child(Target(Kind.CATALOG, database, by_tls))
    refused = through(owners.catalog, port, "127.0.0.1", ssl="verify-full", sslrootcert=str(AUTHORITY))
    async with catalog(refused) as database:
        with pytest.raises(InvalidInput, match="IP address mismatch"):
            await database.ping()


async def test_a_command_ends_with_exit_code_2(
    cluster_dsns: Databases, port: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "SHARDWISE_SHARDS": json.dumps(cluster_dsns.shards),
        "SHARDWISE_CATALOG_DSN": cluster_dsns.catalog,
        "SHARDWISE_READ_MODEL_DSN": cluster_dsns.read_model,
    }.items():
        monkeypatch.setenv(name, value)
    command = ["account", "show", "nobody", "--json"]
    assert await asyncio.to_thread(run, command) == 1
    capfd.readouterr()
    dsn = through(cluster_dsns.catalog, port, ssl="verify-full", sslrootcert=str(ANOTHER_AUTHORITY))
    monkeypatch.setenv("SHARDWISE_CATALOG_DSN", dsn)
    assert await asyncio.to_thread(run, command) == 2
    error = json.loads(capfd.readouterr().out)["error"]
    assert "SHARDWISE_CATALOG_DSN" in error["message"]
