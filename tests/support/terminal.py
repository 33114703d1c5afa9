"""What a person sees at a terminal of a given width."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from cli.terminal.output import Output

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def drawn(human: Any, width: int) -> list[str]:
    """By the console that commands print with."""
    console: Console = Output().stdout
    console.width = width
    with console.capture() as capture:
        console.print(human)
    return [line.rstrip() for line in capture.get().splitlines()]
