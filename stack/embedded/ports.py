"""Loopback ports, chosen once per data directory and kept.

Between choosing a port and the server's listening on it another `up` could choose the same one. So a chosen port
is claimed by a name in Linux's abstract socket space, which has the ports' own scope (the network namespace), needs
no file and vanishes with its process. Elsewhere there is no claim, and two simultaneous first starts may collide.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from domain.errors import Unreachable
from stack.embedded.record import LOOPBACK

USUAL_TEMPORAL = 7233
USUAL_UI = 8233
USUAL_POSTGRES = 5441
LOWEST = 10_000
TRIES = 500


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


class PortClaims:
    """The ports this process has chosen and not yet given to a listening server."""

    def __init__(self) -> None:
        self._ports: set[int] = set()
        self._sockets = contextlib.ExitStack()

    def claim(self, port: int) -> bool:
        """True if the port is free and now ours; False also if it is claimed already."""
        if port in self._ports or not is_free(port):
            return False
        if sys.platform.startswith("linux") and not self._claim_machine_wide(port):
            return False
        self._ports.add(port)
        return True

    def _claim_machine_wide(self, port: int) -> bool:
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0shardwise-port-{port}")
        except OSError:
            claim.close()
            return False
        self._sockets.enter_context(claim)
        return True

    def choose(self, usual: int | None) -> int:
        """The usual port or the first free one after it; without a usual one, any free one."""
        candidates = _any() if usual is None else iter(range(usual, usual + TRIES))
        for port in itertools.islice(candidates, TRIES):
            if self.claim(port):
                return port
        raise Unreachable("no_free_port", f"no free port among {TRIES} tried")

    def release(self) -> None:
        self._sockets.close()
        self._ports.clear()


def _any() -> Iterator[int]:
    """Below the range the kernel gives to outgoing connections, which could take the port while its server is down."""
    above = max(_ephemeral_start(), LOWEST + 1_000)
    while True:
        yield random.randrange(LOWEST, above)


def _ephemeral_start() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_768
