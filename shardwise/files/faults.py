"""Reports invalid lines of a file."""

from __future__ import annotations

from collections.abc import Callable

FAULTS_SHOWN_MAX = 20


class Faults:
    """Reports the first ones as they come, and at the end how many more there were."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._count = 0

    def report(self, line: int, message: str) -> None:
        self._count += 1
        if self._count <= FAULTS_SHOWN_MAX:
            self._say(f"line {line}: {message}")

    def report_rest(self) -> None:
        if self._count > FAULTS_SHOWN_MAX:
            self._say(f"and {self._count - FAULTS_SHOWN_MAX} more invalid lines")
