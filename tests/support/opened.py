"""An installation whose connections a test has made."""

from __future__ import annotations

from typing import Any

from shardwise.connections import Connections, Installation
from stack.settings import Settings


class OpenedWith(Installation):
    def __init__(self, connections: Connections, settings: Settings) -> None:
        super().__init__(settings)
        given: dict[str, Any] = {"_with_timeouts": connections, "_without_timeouts": connections}
        self.__dict__.update(given)
