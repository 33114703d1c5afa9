"""How far a long piece of work has come, told to whoever started it."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[str, int, int | None], None]
"""What is being done, how far, of how many (None: nobody knows)."""


def untold(what: str, done: int, total: int | None) -> None:
    """For a caller who does not want to know."""
