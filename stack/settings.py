"""The settings, from environment variables `SHARDWISE_<NAME>`, and the addresses of the databases."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from domain.balancing import Balancing
from domain.errors import InvalidInput
from domain.faults import described
from domain.identifiers import SHARD_NAME_PATTERN
from domain.json_text import parse_json
from domain.limits import SECONDS_MAX
from domain.replicas import WEIGHT_MAX, ReplicaAddress, replica_name
from domain.tls import parameters_fault
from stack.embedded.record import (
    CATALOG_DATABASE,
    CATALOG_SERVER,
    PORT_MAX,
    READ_MODEL_DATABASE,
    SHARD_DATABASE,
    StackRecord,
)

ENVIRONMENT_PREFIX = "SHARDWISE_"
OWN_SERVER_FIELDS = frozenset(
    {"shards", "replicas", "catalog_dsn", "read_model_dsn", "migration_user", "migration_password"}
)

WORKER_TASKS_MAX = 100_000
POOL_SIZE_MAX = 1_000
LAG_BYTES_MAX = 2**40
READ_WAIT_SECONDS_MAX = 60.0
# Messages and `shardwise status` use these names for the databases that are no shards.
RESERVED_NAMES = frozenset({CATALOG_SERVER, READ_MODEL_DATABASE})


def _postgres_dsn(secret: SecretStr) -> SecretStr:
    """The address, with its scheme spelled `postgresql`, or ValueError. Never shows the password."""
    dsn = secret.get_secret_value()
    scheme, separator, rest = dsn.partition("://")
    try:
        # The same parser as when a connection is made; and the host name must be one that can be resolved.
        url = make_url(f"postgresql{separator}{rest}")
        named = url.database and url.host and url.host.encode("idna")
    except (ArgumentError, ValueError):
        named = None
    if not named or scheme not in ("postgresql", "postgres") or not dsn.isprintable() or (url.port or 1) > PORT_MAX:
        raise ValueError("expected an address such as postgresql://user:password@host:port/database")
    if fault := parameters_fault(url.query):
        raise ValueError(fault)
    return SecretStr(f"postgresql://{rest}")


def _decoded(value: object) -> object:
    try:
        return parse_json(value) if isinstance(value, str) else value
    except InvalidInput as fault:
        raise ValueError(fault.message) from None


def _shards(shards: dict[str, SecretStr]) -> dict[str, SecretStr]:
    if taken := sorted(RESERVED_NAMES & shards.keys()):
        raise ValueError(f"expected other names than {', '.join(taken)}")
    if len({name.casefold() for name in shards}) < len(shards):
        raise ValueError("expected names that differ in more than upper and lower case")
    return shards


def _folder(value: object) -> object:
    """An empty value would mean the current folder, which nobody intends."""
    if value == "":
        raise ValueError("expected a folder, got nothing")
    return value


PostgresDsn = Annotated[SecretStr, AfterValidator(_postgres_dsn)]
ShardName = Annotated[str, Field(pattern=SHARD_NAME_PATTERN)]
Shards = Annotated[dict[ShardName, PostgresDsn], NoDecode, BeforeValidator(_decoded), AfterValidator(_shards)]


class ReplicaSetting(BaseModel):
    """`weight`: its share of the reads, beside the other replicas of its shard."""

    model_config = ConfigDict(extra="forbid")

    dsn: PostgresDsn
    weight: int = Field(default=1, ge=1, le=WEIGHT_MAX, strict=True)


Replicas = Annotated[dict[ShardName, list[ReplicaSetting]], NoDecode, BeforeValidator(_decoded)]


class Settings(BaseSettings):
    """Read from the environment once. Arguments win over variables; unknown variables are ignored."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, extra="ignore")

    data_dir: Annotated[Path, BeforeValidator(_folder)] = Path(".shardwise")

    shards: Shards = Field(default_factory=dict)
    """Your own servers, by shard name. Empty: the embedded stack of `data_dir`."""
    replicas: Replicas = Field(default_factory=dict)
    """Replicas of your own servers, by shard name. Those of the embedded stack are its own."""
    catalog_dsn: PostgresDsn | None = None
    read_model_dsn: PostgresDsn | None = None
    migration_user: str | None = Field(default=None, min_length=1)
    """The owner of the tables on your own servers: `migrate` connects as this user, and creates and grants the role
    that the addresses name. None: it connects as the role itself, which then owns them."""
    migration_password: SecretStr | None = None

    postgres_bin: Path | None = None
    """The folder that holds `postgres` and `initdb`, version 17 or newer."""
    temporal_bin: Path | None = None
    temporal_test_server_bin: Path | None = None

    cancellation_window_seconds: float = Field(default=0, ge=0, le=SECONDS_MAX)
    stuck_after_seconds: float = Field(default=30, gt=0, le=SECONDS_MAX)
    in_doubt_alarm_seconds: float = Field(default=60, gt=0, le=SECONDS_MAX)
    """How old a prepared transaction may get before `status` raises the alarm."""
    lag_alarm_seconds: float = Field(default=60, gt=0, le=SECONDS_MAX)
    """How long events may wait for the read model or the reactors before `status` raises the alarm."""
    replica_lag_bytes_max: int = Field(default=16_777_216, ge=0, le=LAG_BYTES_MAX)
    """How far a replica may be behind its primary and still be read from."""
    balancing: Balancing = Balancing.WEIGHTED
    """Which of the replicas that are fit takes the next read."""
    read_wait_seconds: float = Field(default=0.05, ge=0, le=READ_WAIT_SECONDS_MAX)
    """How long a read waits for a replica that does not show yet what it demands, before the primary is asked."""
    outbox_keep_seconds: float = Field(default=3600, ge=0, le=SECONDS_MAX)
    """How long events are kept after all consumers have taken them, for later investigation."""
    activity_mode: Literal["local_first", "regular"] = "local_first"
    workflow_sandbox: bool = False
    max_concurrent_workflow_tasks: int = Field(default=100, ge=1, le=WORKER_TASKS_MAX)
    max_cached_workflows: int = Field(default=1000, ge=1, le=WORKER_TASKS_MAX)
    pool_size: int = Field(default=10, ge=1, le=POOL_SIZE_MAX)
    """Connections per shard and process."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Literal["text", "json"] = "text"

    @field_validator("replicas")
    @classmethod
    def _of_known_shards(cls, replicas: dict[str, list[ReplicaSetting]], so_far: ValidationInfo) -> Any:
        shards = so_far.data.get("shards")
        if shards is None:
            return replicas  # They are at fault themselves, and that is reported.
        if unknown := sorted(replicas.keys() - shards.keys()):
            raise ValueError(f"expected shards that SHARDWISE_SHARDS names, got {', '.join(unknown)}")
        names = {replica_name(shard, number + 1) for shard in replicas for number in range(len(replicas[shard]))}
        if taken := sorted(names & shards.keys()):
            raise ValueError(f"expected no shard of the name {taken[0]}, which is that of a replica")
        return replicas

    @property
    def own_servers(self) -> bool:
        return bool(self.shards)

    def for_embedded_workers(self, data_dir: Path) -> dict[str, str]:
        """The environment variables that give a worker of the embedded stack these settings, without own servers."""
        chosen = self.model_dump(mode="json", include=self.model_fields_set - OWN_SERVER_FIELDS - {"data_dir"})
        variables = {ENVIRONMENT_PREFIX + name.upper(): _as_variable(value) for name, value in chosen.items()}
        return variables | {ENVIRONMENT_PREFIX + "DATA_DIR": str(data_dir)}


def _as_variable(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def load_settings(data_dir: Path | None = None) -> Settings:
    """Read the environment; `data_dir` (a command-line option) wins over its variable.

    Raises InvalidInput naming the variable at fault.
    """
    try:
        return Settings() if data_dir is None else Settings(data_dir=data_dir)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        raise InvalidInput(_variable(field), f"{_variable(field)}: {_where(first)}{_what(field, first)}") from None


def _what(field: str, fault: ErrorDetails) -> str:
    """Addresses are not shown: they hold passwords."""
    if fault["type"] == "string_pattern_mismatch":
        return "expected 1 to 63 of letters, digits, '.', '_', '-'"
    return described(fault, show_input=field not in OWN_SERVER_FIELDS)


def _where(fault: ErrorDetails) -> str:
    """The shard whose address is at fault. An invalid name is not shown: it may be an address, with a password."""
    if len(fault["loc"]) == 1:
        return ""
    _, name, *within = (str(each) for each in fault["loc"])
    if not re.fullmatch(SHARD_NAME_PATTERN, name):
        return "a shard's name: "
    # Of a replica: its number, and a field of ours. One that is not may be an address, too.
    number = [f"replica {int(within[0]) + 1}"] if within and within[0].isdigit() else []
    fields = [each for each in within[1:] if each in ReplicaSetting.model_fields]
    return "".join(f"{each}: " for each in (name, *number, *fields))


def _variable(field: str) -> str:
    return ENVIRONMENT_PREFIX + field.upper()


@dataclass(frozen=True, repr=False)
class Databases:
    """Plain `postgresql://user:password@host:port/database` addresses. `login`: the variables that user and password
    are from, None if they are in the addresses themselves. `replicas`: by shard, of those that have any."""

    shards: dict[str, str]
    catalog: str
    read_model: str
    login: str | None = None
    replicas: dict[str, list[ReplicaAddress]] = field(default_factory=dict)

    @property
    def all(self) -> list[str]:
        """In the order of `Cluster.databases`: no replicas."""
        return [*self.shards.values(), self.catalog, self.read_model]


def resolve_databases(settings: Settings) -> Databases:
    """The addresses that workers and commands use: your own servers if the settings name them, else the embedded stack
    of the data directory.

    Raises InvalidInput if own servers lack the catalog or the read model, Unreachable if no stack was made.
    """
    if settings.own_servers:
        catalog = _required(settings.catalog_dsn, "catalog_dsn")
        read_model = _required(settings.read_model_dsn, "read_model_dsn")
        shards = {name: dsn.get_secret_value() for name, dsn in settings.shards.items()}
        replicas = {
            name: [ReplicaAddress(each.dsn.get_secret_value(), each.weight) for each in chosen]
            for name, chosen in settings.replicas.items()
        }
        return Databases(shards, catalog.get_secret_value(), read_model.get_secret_value(), replicas=replicas)
    record = StackRecord.load(settings.data_dir)
    return _of_stack(record, record.dsn)


def resolve_owner_databases(settings: Settings) -> Databases:
    """The same databases, with the login of the tables' owner, as `migrate` needs them.

    If no `SHARDWISE_MIGRATION_USER` is set, with the addresses' own user. Raises as `resolve_databases` does.
    """
    if not settings.own_servers:
        record = StackRecord.load(settings.data_dir)
        return _of_stack(record, record.owner_dsn)
    usual = resolve_databases(settings)
    if settings.migration_user is None:
        return usual
    user, password = settings.migration_user, settings.migration_password

    def owned(dsn: str) -> str:
        url = make_url(dsn)
        secret = password.get_secret_value() if password else None
        as_owner = URL.create(url.drivername, user, secret, url.host, url.port, url.database, url.query)
        return as_owner.render_as_string(hide_password=False)

    return Databases(
        {name: owned(dsn) for name, dsn in usual.shards.items()},
        owned(usual.catalog),
        owned(usual.read_model),
        login=f"{_variable('migration_user')} and {_variable('migration_password')}",
    )


def _of_stack(record: StackRecord, dsn: Callable[[str, str], str]) -> Databases:
    return Databases(
        shards={name: dsn(name, SHARD_DATABASE) for name in record.shards},
        catalog=dsn(CATALOG_SERVER, CATALOG_DATABASE),
        read_model=dsn(CATALOG_SERVER, READ_MODEL_DATABASE),
        replicas={
            name: [ReplicaAddress(dsn(replica, SHARD_DATABASE)) for replica in record.replicas_of(name)]
            for name in record.shards
            if record.replicas
        },
    )


def _required(dsn: SecretStr | None, field: str) -> SecretStr:
    if dsn is None:
        variable = _variable(field)
        raise InvalidInput(variable, f"{variable} is needed beside SHARDWISE_SHARDS")
    return dsn
