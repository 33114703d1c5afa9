"""A server that hangs: stopped with all its backends, as on a disk that does not answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psutil  # type: ignore[import-untyped]


@contextlib.contextmanager
def frozen(postmaster: int) -> Iterator[None]:
    """Connections stay open and hang; new ones are accepted by the kernel and never answered."""
    server = psutil.Process(postmaster)
    family = [server, *server.children(recursive=True)]
    try:
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
