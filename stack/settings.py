"""What can be set, by environment variable `SHARDWISE_<NAME>`, and where the databases then are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from domain.errors import InvalidInput
from stack.embedded.record import CATALOG_DATABASE, CATALOG_SERVER, READ_MODEL_DATABASE, StackRecord

ENVIRONMENT_PREFIX = "SHARDWISE_"
OWN_SERVER_FIELDS = frozenset({"shards", "catalog_dsn", "read_model_dsn"})


def _postgres_dsn(dsn: str) -> str:
    parts = urlsplit(dsn)
    if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or not parts.path.strip("/"):
        raise ValueError("must look like postgresql://user:password@host:port/database")
    return "postgresql" + dsn[len(parts.scheme) :]


PostgresDsn = Annotated[str, AfterValidator(_postgres_dsn)]
ShardName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,63}$")]


class Settings(BaseSettings):
    """One reading of the environment. Arguments win over variables; unknown variables are ignored."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, extra="ignore")

    data_dir: Path = Path(".shardwise")

    shards: dict[ShardName, PostgresDsn] = Field(default_factory=dict)
    """Your own servers, by shard name. Empty: the embedded stack of `data_dir`."""
    catalog_dsn: PostgresDsn | None = None
    read_model_dsn: PostgresDsn | None = None

    postgres_bin: Path | None = None
    """The folder that holds `postgres` and `initdb`, version 17 or newer."""
    temporal_bin: Path | None = None
    temporal_test_server_bin: Path | None = None

    cancellation_window_seconds: float = Field(default=0, ge=0)
    stuck_after_seconds: float = Field(default=30, gt=0)
    activity_mode: Literal["local_first", "regular"] = "local_first"
    workflow_sandbox: bool = False
    max_concurrent_workflow_tasks: int = Field(default=100, ge=1)
    max_cached_workflows: int = Field(default=1000, ge=1)
    pool_size: int = Field(default=10, ge=1)
    """Connections per shard and process."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Literal["text", "json"] = "text"

    @property
    def own_servers(self) -> bool:
        return bool(self.shards)

    def for_embedded_workers(self, data_dir: Path) -> dict[str, str]:
        """The environment that gives a worker of the embedded stack what was set here, own servers left out."""
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
        raise InvalidInput(_variable(field), f"{_variable(field)}: {first['msg']}") from None
    except SettingsError as error:
        field = next((name for name in Settings.model_fields if f'"{name}"' in str(error)), "")
        raise InvalidInput(_variable(field), f"{_variable(field)}: must be JSON") from None


def _variable(field: str) -> str:
    return ENVIRONMENT_PREFIX + field.upper()


@dataclass(frozen=True)
class Databases:
    """Plain `postgresql://user:password@host:port/database` addresses."""

    shards: dict[str, str]
    catalog: str
    read_model: str


def resolve_databases(settings: Settings) -> Databases:
    """Where the data is: the user's own servers where named, else the embedded stack of the data directory.

    Raises InvalidInput where an own server lacks its catalog or read model, Unreachable where no stack was made.
    """
    if settings.own_servers:
        catalog = _required(settings.catalog_dsn, "catalog_dsn")
        return Databases(dict(settings.shards), catalog, _required(settings.read_model_dsn, "read_model_dsn"))
    record = StackRecord.load(settings.data_dir)
    return Databases(
        shards={name: record.dsn(name) for name in record.shards},
        catalog=record.dsn(CATALOG_SERVER, CATALOG_DATABASE),
        read_model=record.dsn(CATALOG_SERVER, READ_MODEL_DATABASE),
    )


def _required(dsn: str | None, field: str) -> str:
    if dsn is None:
        variable = _variable(field)
        raise InvalidInput(variable, f"{variable} is needed beside SHARDWISE_SHARDS")
    return dsn
