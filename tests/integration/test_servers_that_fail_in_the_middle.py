"""An error of a server in the middle of our work is reported as what it is; a full pool of our own is not its fault."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from domain.errors import Busy, ShardwiseError, Unreachable
from shards.connections.cluster import Cluster
from shards.connections.database import Database
from shards.connections.database_errors import DatabaseFailure
from stack.settings import Databases
from tests.support.batches import BatchByHand, transfer
from tests.support.world import World


@pytest.fixture
async def one_connection(cluster_dsns: Databases) -> AsyncIterator[Database]:
    made = Database("shard-1", cluster_dsns.shards["shard-1"], pool_size=1)
    yield made
    await made.close()


async def _one(database: Database) -> int:
    async with database.transaction() as connection:
        return int((await connection.execute(text("SELECT 1"))).scalar_one())


async def test_a_full_pool_is_no_dead_server(one_connection: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if waiting for a connection feeds the circuit breaker: it would open although the server is well."""
    monkeypatch.setattr(one_connection._engine.sync_engine.pool, "_timeout", 0.05)
    async with one_connection.transaction() as connection:
        for _ in range(5):
            with pytest.raises(Busy, match="SHARDWISE_POOL_SIZE") as busy:
                await _one(one_connection)
            assert (busy.value.code, busy.value.exit_code) == ("no_connection_free", 3)
        assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    assert await _one(one_connection) == 1


@pytest.mark.parametrize(
    ("does", "raised", "said"),
    [
        ("RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'", DatabaseFailure, "no space left"),
        ("PERFORM pg_terminate_backend(pg_backend_pid())", Unreachable, "shard-1 does not answer"),
    ],
    ids=["disk full", "connection killed"],
)
async def test_a_server_that_fails_inside_copy(
    cluster: Cluster, does: str, raised: type[ShardwiseError], said: str
) -> None:
    world = World(cluster)
    await world.open_shop()
    accounts = [await world.customer(shard="shard-1") for _ in range(2)]
    batch = BatchByHand(world, [transfer(*accounts, "1.00")])
    await world.as_owner(
        "shard-1",
        f"CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; RETURN NEW; END $$",
        "CREATE TRIGGER fails BEFORE INSERT ON batch_line FOR EACH ROW EXECUTE FUNCTION fails()",
    )
    with pytest.raises(raised, match=said) as failed:
        await batch.stage()
    assert (failed.value.exit_code, failed.value.shard) == (3, "shard-1")
    await world.as_owner("shard-1", "DROP TRIGGER fails ON batch_line")
    assert (await batch.carry_out()).settled == 1
