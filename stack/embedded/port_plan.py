"""Which part listens on which port, decided before anything starts."""

from __future__ import annotations

from domain.errors import Unreachable
from stack.embedded.ports import USUAL_POSTGRES, USUAL_TEMPORAL, USUAL_UI, PortClaims
from stack.embedded.record import TEMPORAL, TEMPORAL_UI, StackRecord


class PortPlan:
    """Reserves its ports against other first starts until it is closed, once the servers listen."""

    def __init__(self, record: StackRecord) -> None:
        self._record = record
        self._claims = PortClaims()

    def settle(self, usual: bool, running: set[str]) -> list[str]:
        """Put a port for every part into the record, and return which had to change.

        A port stays for ever, except that a stopped stack moves away from a port that another process has taken. Raises
        Unreachable if part of the stack runs, since its clients know only the old port.
        """
        moved: list[str] = []
        for listener in self._listeners():
            kept = self._record.ports.get(listener)
            if kept is not None and (_owner(listener) in running or self._claims.claim(kept)):
                continue
            if kept is not None and running:
                message = f"port {kept} of {listener} is taken by another process, and the rest of the stack runs"
                raise Unreachable("port_taken", message)
            self._record.ports[listener] = self._claims.choose(_usual(listener) if usual else None)
            if kept is not None:
                moved.append(f"moved {listener} to port {self._record.ports[listener]}: {kept} is taken")
        return moved

    def close(self) -> None:
        self._claims.release()

    def _listeners(self) -> list[str]:
        return [TEMPORAL, TEMPORAL_UI, *self._record.postgres_servers, *self._record.replica_servers]


def _owner(listener: str) -> str:
    return TEMPORAL if listener == TEMPORAL_UI else listener


def _usual(listener: str) -> int:
    return {TEMPORAL: USUAL_TEMPORAL, TEMPORAL_UI: USUAL_UI}.get(listener, USUAL_POSTGRES)
