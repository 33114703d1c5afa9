"""The parts of one data directory's stack, as named in its record."""

from __future__ import annotations

from pathlib import Path

from stack.embedded import binaries
from stack.embedded.parts import Part
from stack.embedded.postgres import PostgresServer
from stack.embedded.postgres_files import PostgresFiles, home_of
from stack.embedded.record import (
    CATALOG_DATABASE,
    CATALOG_SERVER,
    READ_MODEL_DATABASE,
    SHARD_DATABASE,
    TEMPORAL,
    StackRecord,
)
from stack.embedded.replica_server import ReplicaServer
from stack.embedded.server_user import CALLER
from stack.embedded.temporal_server import TemporalServer
from stack.embedded.worker_process import WorkerProcess
from stack.settings import Settings


class StackParts:
    """Without `files` its servers can be queried and stopped, but not started."""

    def __init__(
        self, data_dir: Path, record: StackRecord, settings: Settings, files: PostgresFiles | None = None
    ) -> None:
        self.data_dir = data_dir
        self._record = record
        self._settings = settings
        self._files = files or PostgresFiles(home_of(data_dir, record), Path(), CALLER)

    def temporal(self) -> TemporalServer:
        return TemporalServer(
            self.data_dir, self._log(TEMPORAL), lambda: binaries.temporal_bin(self._settings), self._record
        )

    def postgres(self) -> list[PostgresServer]:
        databases = {name: [SHARD_DATABASE] for name in self._record.shards}
        databases[CATALOG_SERVER] = [CATALOG_DATABASE, READ_MODEL_DATABASE]
        return [
            PostgresServer(name, self._log(name), self._files, self._record, databases[name])
            for name in self._record.postgres_servers
        ]

    def replicas(self) -> list[ReplicaServer]:
        return [self._replica(name, shard) for name, shard in self._record.replica_servers.items()]

    def surplus_replicas(self) -> list[ReplicaServer]:
        """Replicas of an earlier start, beyond the number that is wanted now."""
        return [self._replica(name, shard) for name, shard in self._record.surplus_replicas.items()]

    def _replica(self, name: str, shard: str) -> ReplicaServer:
        return ReplicaServer(name, shard, self._log(name), self._files, self._record)

    def servers(self) -> list[Part]:
        return [self.temporal(), *self.postgres(), *self.replicas()]

    def workers(self) -> list[WorkerProcess]:
        return [self.worker(name) for name in self._record.worker_names]

    def worker(self, name: str) -> WorkerProcess:
        return WorkerProcess(name, self.data_dir, self._log(name), self._settings)

    def surplus_workers(self) -> list[WorkerProcess]:
        """Workers of an earlier start, beyond the number that is wanted now."""
        folders = sorted((self.data_dir / "workers").glob("worker-*"))
        return [self.worker(folder.name) for folder in folders if folder.name not in self._record.worker_names]

    def stop_order(self) -> list[list[Part]]:
        """Workers first, since they need Temporal and the databases to drain; a replica before its primary, so that it
        does not look for it in vain. Each group is stopped at once."""
        workers: list[Part] = [*self.workers(), *self.surplus_workers()]
        replicas: list[Part] = [*self.replicas(), *self.surplus_replicas()]
        return [workers, [self.temporal()], replicas, [*self.postgres()]]

    def _log(self, name: str) -> Path:
        return self.data_dir / "logs" / f"{name}.log"
