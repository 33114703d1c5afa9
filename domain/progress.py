"""Reports of how far a long piece of work has come, for whoever started it."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[str, int, int | None], None]
"""What is being done, how far, of how many (None: unknown)."""


def no_report(what: str, done: int, total: int | None) -> None:
    """For a caller that wants no reports."""
