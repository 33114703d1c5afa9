"""An installation whose connections a test has made."""

from __future__ import annotations

from typing import Any

from shardwise.connections import Connections, Opened
from stack.settings import Settings


class OpenedWith(Opened):
    def __init__(self, connections: Connections, settings: Settings) -> None:
        super().__init__(settings)
        given: dict[str, Any] = {"_usual": connections, "_without_timeouts": connections}
        self.__dict__.update(given)
