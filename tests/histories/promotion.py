"""A replica is promoted that lacks a write which was acknowledged: what a fail-over in haste does.

Afterwards the new primary hands the same positions in its log, and the same transaction ids, out again. Whoever
compares them as numbers takes the lost write for there.
"""

from __future__ import annotations

from dataclasses import dataclass

from stack.settings import Settings, resolve_databases
from tests.histories.servers import Servers, until

_DOES_NOT_RECEIVE = "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)"
_IS_STREAMING = "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')"
_POSITION = "SELECT CAST(pg_current_wal_flush_lsn() - '0/0' AS bigint)"
_XID = "SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"
_FILLER = "CREATE TABLE filler AS SELECT 1"


@dataclass(frozen=True)
class Promotion:
    """Of a shard with two replicas, of which the first becomes the primary of the second. In this order: `cut_off`, the
    write that will be lost, `fail_over`."""

    servers: Servers
    shard: str

    @property
    def replicas(self) -> tuple[str, str]:
        first, second = self.servers.record.replicas_of(self.shard)
        return first, second

    async def cut_off(self) -> None:
        """From now on no replica gets anything of what the primary writes."""
        first, second = self.replicas
        await self.servers.caught_up_with(self.shard)
        # The other one first: it must not be ahead of its primary to be.
        for replica in (second, first):
            await self.servers.set(replica, primary_conninfo="")
            await until(lambda replica=replica: self.servers.is_true(replica, _DOES_NOT_RECEIVE))

    async def fail_over(self) -> None:
        first, second = self.replicas
        self.servers.kill(self.shard)
        assert await self.servers.ask(first, "SELECT pg_promote()")
        record = self.servers.record
        where = (
            f"host=127.0.0.1 port={record.ports[first]} user=shardwise password={record.password.get_secret_value()}"
        )
        await self.servers.set(second, primary_conninfo=where)
        await until(lambda: self.servers.is_true(second, _IS_STREAMING))

    async def pass_by(self, lsn: int, xid: int) -> None:
        """The new primary writes until its positions and transaction ids are above those."""
        first, second = self.replicas

        async def has_passed() -> bool:
            await self.servers.ask(first, _FILLER, "DROP TABLE filler")
            position, reached = await self.servers.ask(first, _POSITION), await self.servers.ask(first, _XID)
            return int(str(position)) > lsn and int(str(reached)) > xid

        await until(has_passed)
        end = await self.servers.ask(first, "SELECT CAST(pg_current_wal_flush_lsn() AS text)")
        await until(lambda: self.servers.is_true(second, f"SELECT pg_last_wal_replay_lsn() >= '{end}'"))

    def settings(self, primary: str, *replicas: str) -> Settings:
        """Of an installation whose shard is this server, and which reads from those."""
        record, at = self.servers.record, resolve_databases(self.servers.settings)
        return Settings.model_validate(
            {
                "data_dir": self.servers.settings.data_dir,
                "shards": {self.shard: record.dsn(primary)},
                "replicas": {self.shard: [{"dsn": record.dsn(each)} for each in replicas]},
                "catalog_dsn": at.catalog,
                "read_model_dsn": at.read_model,
            }
        )
