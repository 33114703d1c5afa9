"""What is wrong with lines of a file."""

from __future__ import annotations

from collections.abc import Callable

FAULTS_SHOWN_MAX = 20


class Faults:
    """Tells of the first ones, and how many more there were."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._count = 0

    def tell(self, line: int, message: str) -> None:
        self._count += 1
        if self._count <= FAULTS_SHOWN_MAX:
            self._say(f"line {line}: {message}")

    def tell_rest(self) -> None:
        if self._count > FAULTS_SHOWN_MAX:
            self._say(f"and {self._count - FAULTS_SHOWN_MAX} more invalid lines")
