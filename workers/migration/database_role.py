"""The role as which workers, the sweep and commands connect: created and granted by the owner of the tables.

It is no superuser and owns only the read model's versions, which a rebuild creates, renames and drops. One role for all
three, since a prepared transaction can be ended only by the role that prepared it, or by a superuser.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Callable, Sequence

from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import InvalidInput
from domain.text import first_line
from shards.connections.cluster import Cluster
from shards.connections.database import Database
from shards.connections.database_errors import sqlstate
from shards.connections.identity import superuser_refused
from shards.tables import versions
from shards.tables.versions import Version
from stack.settings import Databases
from workers.migration.schema import Kind

INSUFFICIENT_PRIVILEGE = "42501"
NAME_BYTES_MAX = 63

_LOCK_ROLES = text("SELECT pg_advisory_xact_lock(hashtextextended('shardwise/role', 0))")
_ROLE = text("SELECT rolsuper FROM pg_roles WHERE CAST(rolname AS text) = CAST(:name AS text)")
_CURRENT_ROLE = text("""
    SELECT CAST(current_user AS text) = CAST(:name AS text) AS same, rolsuper FROM pg_roles WHERE rolname = current_user
""")
_QUOTED = text("SELECT quote_ident(:name)")
_SUPERUSER = text("SELECT rolname FROM pg_roles WHERE rolname = current_user AND rolsuper")
_SCHEMA_OWNER = text("SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = :schema")
_OWNED_BY_OTHERS = text("""
    SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = :schema AND tableowner <> :role
""")

_ROWS = (
    "GRANT USAGE ON SCHEMA public TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {role}",
    "REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {role}",
)
_OF_KIND = {
    # Staging analyzes the lines that it has copied; `contrast` vacuums the accounts.
    Kind.SHARD: ("GRANT MAINTAIN ON account, batch_line TO {role}",),
    Kind.CATALOG: (),
    Kind.READ_MODEL: ("GRANT CREATE ON DATABASE {database} TO {role}",),
}
# Grants that only a superuser can make, and what needs them.
_OF_THE_SERVER = {
    # To see what other sessions do, and whether a replica streams.
    "GRANT pg_read_all_stats TO {role}": "replicas need it: without it they are left out of reads",
    # To copy rows without firing triggers.
    "GRANT SET ON PARAMETER session_replication_role TO {role}": "nothing needs it yet",
}


@contextlib.asynccontextmanager
async def missing_rights_reported() -> AsyncIterator[None]:
    """`InvalidInput` if the user that migrates lacks a right inside the block."""
    try:
        yield
    except DBAPIError as error:
        if sqlstate(error) != INSUFFICIENT_PRIVILEGE:
            raise
        cause = first_line(str(error.orig.__cause__ if error.orig is not None else error))
        raise InvalidInput(
            "SHARDWISE_MIGRATION_USER",
            f"SHARDWISE_MIGRATION_USER: expected a superuser, or the tables' owner with CREATEROLE: {cause}",
        ) from error


async def assert_role_fits(owners: Cluster, addresses: Databases) -> None:
    """Checks that the addresses name a role fit for workers, before anything is created. `InvalidInput` if one does
    not.

    The owner itself passes here: workers check for a superuser when they start.
    """
    for database, dsn in zip(owners.databases, addresses.all, strict=True):
        name = make_url(dsn).username or ""
        async with database.transaction() as connection:
            if (await connection.execute(_CURRENT_ROLE, {"name": name})).one().same:
                continue
            if not _is_name(name):
                message = (
                    f"{database.name}: expected an address that names a role of your own, as in postgresql://app@…"
                )
                raise InvalidInput(database.setting, message)
            if await connection.scalar(_ROLE, {"name": name}):
                raise InvalidInput(database.setting, f"{database.name}: {superuser_refused(name)}")


def _is_name(name: str) -> bool:
    """Whether Postgres takes the name whole, and does not reserve it."""
    return 0 < len(name.encode()) <= NAME_BYTES_MAX and not name.startswith("pg_") and name not in ("public", "none")


async def ensure_role(owners: Cluster, kinds: Sequence[Kind], addresses: Databases, say: Callable[[str], None]) -> None:
    """Creates the role that each database's address names, if it is missing, and grants it the rights that it needs.

    `owners`: the same databases, connected as their owner. If that is the role itself, nothing is done: it owns
    everything. A role that exists keeps its password. Safe to repeat, and to kill at any point: the next call grants
    the rest. Call `assert_role_fits` before, and this inside `missing_rights_reported`.
    """
    # Roles belong to a whole server, which refuses two concurrent changes of one role. So databases are done one after
    # the other, and a second `migrate` waits for a lock in the catalog, which all migrations share.
    async with owners.catalog.transaction() as lock:
        await lock.execute(_LOCK_ROLES)
        await _ensure_roles(owners, kinds, addresses, say)


async def _ensure_roles(
    owners: Cluster, kinds: Sequence[Kind], addresses: Databases, say: Callable[[str], None]
) -> None:
    for database, kind, dsn in zip(owners.databases, kinds, addresses.all, strict=True):
        async with database.transaction() as connection:
            await _ensure_role(connection, kind, make_url(dsn))
        for missing in await _grant_of_the_server(database, make_url(dsn)):
            say(f"{database.name}: only a superuser can {missing}")


async def _ensure_role(connection: AsyncConnection, kind: Kind, address: URL) -> None:
    name = address.username or ""
    me = (await connection.execute(_CURRENT_ROLE, {"name": name})).one()
    if me.same:
        return
    role = await _quoted(connection, name)
    if await connection.scalar(_ROLE, {"name": name}) is None:
        await connection.exec_driver_sql(f"CREATE ROLE {role} LOGIN{await _password(connection, address)}")
    if not me.rolsuper:
        # The migrating user must be able to change what the role owns.
        await connection.exec_driver_sql(f"GRANT {role} TO CURRENT_USER WITH INHERIT TRUE, SET TRUE")
    database = await _quoted(connection, address.database or "")
    for grant in (*_ROWS, *_OF_KIND[kind]):
        await connection.exec_driver_sql(grant.format(role=role, database=database))
    if kind is Kind.READ_MODEL:
        for version in await versions.existing(connection):
            await _hand_over(connection, version, name)


async def _password(connection: AsyncConnection, address: URL) -> str:
    """Empty for an address without a password: its server authenticates the role by other means."""
    if not address.password:
        return ""
    password = str(address.password)
    if not password.isascii():
        message = f"the password of {address.username} is not of ASCII characters only: make the role yourself"
        raise InvalidInput("SHARDWISE_SHARDS", message)
    rounds = int(str(await connection.scalar(text("SHOW scram_iterations"))))
    return f" PASSWORD '{scram_verifier(password, rounds)}'"


async def _hand_over(connection: AsyncConnection, version: Version, name: str) -> None:
    """Makes the role the owner of the version and of all tables that a migration has created in it."""
    role = await _quoted(connection, name)
    if await connection.scalar(_SCHEMA_OWNER, {"schema": version.value}) != name:
        await connection.exec_driver_sql(f"ALTER SCHEMA {version} OWNER TO {role}")
    tables = await connection.execute(_OWNED_BY_OTHERS, {"schema": version.value, "role": name})
    for table in tables.scalars().all():
        await connection.exec_driver_sql(f"ALTER TABLE {table} OWNER TO {role}")


async def _grant_of_the_server(database: Database, address: URL) -> list[str]:
    """Returns the grants that could not be made, each with what needs it."""
    missing = []
    for grant, needed_by in _OF_THE_SERVER.items():
        try:
            async with database.transaction() as connection:
                if (await connection.execute(_CURRENT_ROLE, {"name": address.username})).one().same:
                    return []
                role = await _quoted(connection, address.username or "")
                await connection.exec_driver_sql(grant.format(role=role))
        except DBAPIError as error:
            if sqlstate(error) != INSUFFICIENT_PRIVILEGE:
                raise
            missing.append(f"{grant.format(role=address.username)}; {needed_by}")
    return missing


async def assert_no_superuser(databases: Sequence[Database]) -> None:
    """`InvalidInput` if one of these connections is a superuser's: a bad statement of a worker must not be able to do
    anything to its server."""
    for database in databases:
        async with database.transaction() as connection:
            name = await connection.scalar(_SUPERUSER)
        if name is not None:
            raise InvalidInput(database.setting, f"{database.name}: {superuser_refused(name)}")


def scram_verifier(password: str, rounds: int) -> str:
    """What Postgres stores for a password (RFC 5803), so that the password itself is in no statement, and so in no log.

    `password` must be ASCII, which SASLprep does not change.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)

    def key(name: bytes) -> bytes:
        return hmac.digest(salted, name, "sha256")

    stored, server = hashlib.sha256(key(b"Client Key")).digest(), key(b"Server Key")
    salt_text, stored_key, server_key = (base64.b64encode(each).decode() for each in (salt, stored, server))
    return f"SCRAM-SHA-256${rounds}:{salt_text}${stored_key}:{server_key}"


async def _quoted(connection: AsyncConnection, name: str) -> str:
    return str(await connection.scalar(_QUOTED, {"name": name}))
