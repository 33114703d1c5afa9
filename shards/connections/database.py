"""One database: a small pool of connections, with a circuit breaker and time limits.

Connection errors of the driver are translated here and nowhere else: `Unreachable` if a server does not answer, `Busy`
if none of our connections is free, `NotMigrated` if a database lacks our tables, `InvalidInput` if the address or the
login is wrong. Statements that a server rejects are translated by
`shards.routing.shard_transaction.translating_errors`. A COMMIT whose acknowledgement is lost is `Unreachable` too, and
its outcome is unknown: the caller runs its step again, and the barrier decides.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from domain.errors import Busy, InvalidInput, NotMigrated, ShardwiseError, Unreachable
from shards.connections.breaker import CircuitBreaker
from shards.connections.identity import assert_is_shard, superuser_refused
from shards.connections.server_errors import cause, driver_error, first_line, has_no_tls, server_gone
from shards.connections.tls import driver_arguments

log = logging.getLogger("shardwise.databases")

# All shorter than an activity's start-to-close: an attempt that Temporal has given up must not commit much later.
CONNECT_SECONDS = 2.0
COMMAND_SECONDS = 4.0
_SERVER_SETTINGS = {
    "application_name": "shardwise",
    "lock_timeout": "3s",
    "statement_timeout": "3500ms",
    "transaction_timeout": "4s",
    "idle_in_transaction_session_timeout": "4s",
}
_SETTINGS = {"catalog": "SHARDWISE_CATALOG_DSN", "read_model": "SHARDWISE_READ_MODEL_DSN"}
POSTGRES_PORT = 5432
_PING = text("SELECT 1")
# Kept with the driver's connection, for as long as that lasts.
_IS_CHECKED = "shardwise_is_checked"
_WRONG_ADDRESS = (
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.ClientConfigurationError,
)
_OTHER_SCHEMA = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)


class Database:
    """One Postgres database. Use `transaction()`, or `autocommit()` for statements that cannot run in a transaction."""

    def __init__(
        self,
        name: str,
        dsn: str,
        pool_size: int = 10,
        long_running: bool = False,
        check_name: bool = False,
        login: str | None = None,
        no_superuser: bool = False,
        replica_of: str | None = None,
    ) -> None:
        """`long_running` lifts the time limits, for migrations and audits. `check_name` checks on every new connection
        that the database is the shard of this name, so that swapped addresses never return another shard's rows, and
        that a primary's history has a row for the fork that it writes (`shards.connections.forks`). `login` names the
        variables that hold user and password, if the address does not. `no_superuser` refuses to connect as a
        superuser, with `InvalidInput`. `replica_of`: the shard that it is a replica of, and then the one whose name is
        checked."""
        self.name = name
        self._login = login
        self._dsn = dsn
        self._check_name = check_name
        self._no_superuser = no_superuser
        self._replica_of = replica_of
        url = make_url(dsn)
        self._place, self._user = f"{url.host}:{url.port or POSTGRES_PORT}", url.username or ""
        self._breaker = CircuitBreaker(name)
        self._engine = _engine(name, dsn, pool_size, long_running, self.setting)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Commits when the block ends, rolls back when it raises. READ COMMITTED.

        A crash before the commit leaves nothing; a crash during it leaves all or nothing.
        """
        async with self._connected() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """One REPEATABLE READ, read-only view for several queries. Changes nothing."""
        async with self._connected() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[AsyncConnection]:
        """Each statement commits by itself. For a hand-written `BEGIN … PREPARE TRANSACTION`, and for the
        `COMMIT PREPARED` or `ROLLBACK PREPARED` that ends it.

        The pool's reset does not notice a hand-written BEGIN. So a connection that is still in a transaction when the
        block ends, normally or by an error, is closed, which rolls back on the server.
        """
        async with self._connected() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                yield connection
            finally:
                if _in_transaction(connection):
                    await connection.invalidate()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        self._breaker.check()
        try:
            async with self._engine.connect() as connection:
                if self._no_superuser and _is_superuser(connection):
                    raise InvalidInput(self.setting, f"{self.name}: {superuser_refused(self._user)}")
                await self._assert_name(connection)
                yield connection
        except PoolTimeoutError as error:
            # The server was not contacted, so this says nothing to the breaker.
            raise Busy(self.name) from error
        except Exception as error:
            fault = self._fault_of_settings(error)
            if fault is None and server_gone(error):
                reason = cause(error, self._place)
                if has_no_tls(error):
                    reason += f". TLS is required of it by ssl in {self.setting}"
                log.debug("%s does not answer", self.name, exc_info=error)
                self._breaker.failed(reason)
                raise Unreachable("shard_unreachable", f"{self.name} does not answer: {reason}") from error
            self._breaker.succeeded()
            if fault is not None:
                raise fault from error
            raise
        self._breaker.succeeded()

    async def _assert_name(self, connection: AsyncConnection) -> None:
        if not self._check_name or connection.sync_connection is None:
            return
        of_connection = connection.sync_connection.info
        if _IS_CHECKED not in of_connection:
            in_recovery = await assert_is_shard(connection, self._replica_of or self.name, called=self.name)
            await connection.rollback()
            # A server that is not promoted yet is checked again: this connection would last through its promotion.
            if self._replica_of or not in_recovery:
                of_connection[_IS_CHECKED] = True

    def _fault_of_settings(self, error: Exception) -> ShardwiseError | None:
        fault = driver_error(error)
        if isinstance(fault, ssl.SSLCertVerificationError):
            return InvalidInput(
                self.name,
                f"{self.name}: the server's certificate was refused: {fault.verify_message.rstrip('.')}. What it must "
                f"satisfy is set in {self.setting}: ssl and sslrootcert",
            )
        if isinstance(fault, asyncpg.InvalidAuthorizationSpecificationError) and self._login:
            return InvalidInput(self._login, f"{self.name}: {first_line(fault)}: see {self._login}")
        if isinstance(fault, _WRONG_ADDRESS):
            return InvalidInput(self.name, f"{self.name}: {first_line(fault)}")
        return NotMigrated(f"{self.name}: {first_line(fault)}") if isinstance(fault, _OTHER_SCHEMA) else None

    @property
    def setting(self) -> str:
        """The environment variable that holds its address, if the servers are not the embedded ones."""
        return "SHARDWISE_REPLICAS" if self._replica_of else _SETTINGS.get(self.name, "SHARDWISE_SHARDS")

    @property
    def events(self) -> Engine:
        """For listening to this database's SQLAlchemy events: see `contrast.probes.sent_statements`."""
        return self._engine.sync_engine

    def without_timeouts(self, pool_size: int = 2) -> Database:
        """The same database through connections of its own without time limits, for long reads. The caller closes
        it."""
        how = (pool_size, True, self._check_name, self._login, self._no_superuser, self._replica_of)
        return Database(self.name, self._dsn, *how)

    async def ping(self) -> None:
        """Returns once the database has answered a query; raises `Unreachable`."""
        async with self._connected() as connection:
            await connection.execute(_PING)

    async def close(self) -> None:
        await self._engine.dispose()


def _engine(name: str, dsn: str, pool_size: int, long_running: bool, setting: str) -> AsyncEngine:
    try:
        to = driver_arguments(dsn)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            name,
            f"{name}: sslrootcert cannot be read as certificates of authorities: {error}. It is set in {setting}",
        ) from error
    return create_async_engine(
        to.dsn,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        pool_recycle=1800,
        connect_args={
            "timeout": CONNECT_SECONDS,
            "command_timeout": None if long_running else COMMAND_SECONDS,
            "server_settings": {"application_name": "shardwise"} if long_running else _SERVER_SETTINGS,
            **to.arguments,
        },
    )


def _is_superuser(connection: AsyncConnection) -> bool:
    """As the server reported when it accepted the connection; no query is sent."""
    if connection.sync_connection is None:
        return False
    driver = connection.sync_connection.connection.driver_connection
    return driver is not None and getattr(driver.get_settings(), "is_superuser", "") == "on"


def _in_transaction(connection: AsyncConnection) -> bool:
    """As of the server's last message on this connection. Awaits nothing, so no cancellation can interrupt it."""
    if connection.invalidated or connection.sync_connection is None:
        return False
    driver = connection.sync_connection.connection.driver_connection
    return driver is not None and bool(driver.is_in_transaction())
