"""A worker of the embedded stack, as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from stack.embedded.parts import Part
from stack.settings import ENVIRONMENT_PREFIX, OWN_SERVER_FIELDS, Settings

READY_FILE_VARIABLE = "SHARDWISE_READY_FILE"
"""The worker writes this file once it polls: a JSON object `{"queues": [names]}`, put in place by a rename."""


class WorkerProcess(Part):
    ready_seconds = 60.0
    stop_ways = ((signal.SIGTERM, 15.0),)  # it drains: finishes what it has begun, takes nothing new

    def __init__(self, name: str, data_dir: Path, log: Path, settings: Settings) -> None:
        super().__init__(name, data_dir / "workers" / name, log)
        self._settings = settings
        self._data_dir = data_dir
        self._ready_file = self.folder / "ready.json"

    def prepare(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ready_file.unlink(missing_ok=True)

    def command(self) -> list[str]:
        return [sys.executable, "-P", "-m", "cli", "worker", "--name", self.name]

    def environment(self) -> Mapping[str, str]:
        own = {ENVIRONMENT_PREFIX + field.upper() for field in OWN_SERVER_FIELDS}
        inherited = {
            name: value for name, value in os.environ.items() if name not in own and not name.startswith("TEMPORAL_")
        }
        return (
            inherited
            | self._settings.for_embedded_workers(self._data_dir)
            | {READY_FILE_VARIABLE: str(self._ready_file)}
        )

    async def answers(self) -> bool:
        return self.queues() is not None

    def queues(self) -> list[str] | None:
        """The task queues it polls; None until it does."""
        try:
            return [str(queue) for queue in json.loads(self._ready_file.read_text())["queues"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None
