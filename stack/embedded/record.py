"""`stack.json`: the record of a data directory's stack. Holds the passwords, so only its owner can read it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError, field_serializer

from domain.errors import InvalidInput, Unreachable
from domain.replicas import replica_name

OWNER = "shardwise"
"""A superuser, which owns the tables."""
ROLE = "shardwise_app"
"""The role as which workers and commands connect."""
SHARD_DATABASE = "shardwise"
CATALOG_SERVER = "catalog"
CATALOG_DATABASE = "catalog"
READ_MODEL_DATABASE = "read_model"
TEMPORAL = "temporal"
TEMPORAL_UI = "temporal-ui"
LOOPBACK = "127.0.0.1"
PORT_MAX = 65535
REPLICAS_MAX = 3
"""Of each shard."""


class ProcessMark(BaseModel):
    """A process, distinguished from a later one that got the same pid."""

    pid: Annotated[int, Field(ge=1)]
    started_at: float
    """Seconds since the epoch."""


def _random_password() -> SecretStr:
    return SecretStr(secrets.token_urlsafe(24))


class StackRecord(BaseModel):
    version: Literal[1] = 1
    shards: list[str]
    workers: Annotated[int, Field(ge=0)] = 2
    replicas: Annotated[int, Field(ge=0, le=REPLICAS_MAX)] = 0
    """Of each shard."""
    ports: dict[str, Annotated[int, Field(ge=1, le=PORT_MAX)]]
    """By part; chosen once, so that clients survive the restart of a part."""
    password: SecretStr = Field(default_factory=_random_password)
    """The owner's."""
    role_password: SecretStr | None = None
    """None: the stack is from a release in which everybody connected as the owner; the next `up` creates one."""
    made: list[str] = Field(default_factory=list)
    """Parts that were ready once. The files of any other part were never used, and may be deleted half made."""
    postgres_home: Path | None = None
    """The folder of the database files, if it is not below the data directory."""
    processes: dict[str, ProcessMark] = Field(default_factory=dict)

    @property
    def postgres_servers(self) -> list[str]:
        return [*self.shards, CATALOG_SERVER]

    @property
    def replica_servers(self) -> dict[str, str]:
        """Each replica's name with its shard's."""
        return {name: shard for shard in self.shards for name in self.replicas_of(shard)}

    def replicas_of(self, server: str) -> list[str]:
        """None, if the server is no shard."""
        numbers = range(1, self.replicas + 1) if server in self.shards else ()
        return [replica_name(server, number) for number in numbers]

    @property
    def surplus_replicas(self) -> dict[str, str]:
        """The same for replicas that an earlier start made, beyond the number that is wanted now."""
        numbers = range(self.replicas + 1, REPLICAS_MAX + 1)
        names = {replica_name(shard, number): shard for shard in self.shards for number in numbers}
        return {name: shard for name, shard in names.items() if name in self.ports}

    def forget(self, part: str) -> None:
        """The part is gone, with its files."""
        self.ports.pop(part, None)
        self.processes.pop(part, None)
        self.made = [name for name in self.made if name != part]

    @property
    def worker_names(self) -> list[str]:
        return [f"worker-{number}" for number in range(1, self.workers + 1)]

    @property
    def temporal_address(self) -> str:
        return f"{LOOPBACK}:{self.ports[TEMPORAL]}"

    @property
    def ui_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports[TEMPORAL_UI]}"

    def create_role_password(self) -> None:
        """Does nothing if there is one. Never changed: `migrate` creates the role with it."""
        self.role_password = self.role_password or _random_password()

    def dsn(self, server: str, database: str = SHARD_DATABASE) -> str:
        """As workers and commands connect."""
        if self.role_password is None:
            return self.owner_dsn(server, database)
        return self._dsn(ROLE, self.role_password, server, database)

    def owner_dsn(self, server: str, database: str = SHARD_DATABASE) -> str:
        return self._dsn(OWNER, self.password, server, database)

    def _dsn(self, user: str, password: SecretStr, server: str, database: str) -> str:
        return f"postgresql://{user}:{password.get_secret_value()}@{LOOPBACK}:{self.ports[server]}/{database}"

    @field_serializer("password", "role_password", when_used="json-unless-none")
    def _written(self, password: SecretStr) -> str:
        return password.get_secret_value()

    @staticmethod
    def path(data_dir: Path) -> Path:
        return data_dir / "stack.json"

    @classmethod
    def load(cls, data_dir: Path) -> StackRecord:
        """Raises Unreachable if no stack was made, InvalidInput if the record cannot be read."""
        record = cls.find(data_dir)
        if record is None:
            raise Unreachable("no_stack", f"no stack in {data_dir.resolve()}: run `shardwise up --detach`")
        return record

    @classmethod
    def find(cls, data_dir: Path) -> StackRecord | None:
        """None if no stack was made. Raises InvalidInput if the record cannot be read."""
        path = cls.path(data_dir)
        try:
            record = cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not a record of this version"
            raise InvalidInput("data_dir", f"cannot read {path}: {reason}") from error
        listeners = {*record.postgres_servers, *record.replica_servers, TEMPORAL, TEMPORAL_UI}
        if not record.shards or not listeners <= record.ports.keys():
            raise InvalidInput("data_dir", f"cannot read {path}: it lacks the shards, or the port of a part")
        return record

    def save(self, data_dir: Path) -> None:
        """Replace the record. A crash leaves the old one or the new one, never a part."""
        path = self.path(data_dir)
        draft = path.with_suffix(".json.new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(self.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
