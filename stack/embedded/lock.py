"""One `up` or `down` at a time on one data directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from domain.errors import InvalidInput
from stack.embedded.waiting import attempts

WAIT_SECONDS = 120.0


class DirectoryLock:
    """Held by the process, so a crash releases it. Reentrant; not shared between tasks."""

    def __init__(self, data_dir: Path, say: Callable[[str], None], wait_seconds: float = WAIT_SECONDS) -> None:
        self._path = data_dir / "stack.lock"
        self._say = say
        self._wait_seconds = wait_seconds
        self._depth = 0

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Waits for another holder and says so. Raises InvalidInput after `wait_seconds`."""
        if self._depth:
            yield
            return
        descriptor = _open(self._path)
        try:
            await self._take(descriptor)
            self._depth += 1
            yield
        finally:
            self._depth = 0
            os.close(descriptor)

    async def _take(self, descriptor: int) -> None:
        if _try(descriptor):
            return
        self._say(f"another `shardwise up` or `down` works on {self._path.parent}: waiting")
        async for _ in attempts(self._wait_seconds):
            if _try(descriptor):
                return
        message = f"another `shardwise up` or `down` still works on {self._path.parent}"
        raise InvalidInput("data_dir", message, code="stack_locked")


def _open(path: Path) -> int:
    try:
        # Other users may pass through, but not read: if we are root, Postgres runs as another user and in a folder
        # below.
        path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput("data_dir", f"cannot use {path.parent} as data directory: {error.strerror}") from error


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
