"""Escapes control characters in keys and names that others chose, so that a terminal does not obey them."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

from domain.text import printable


class Escaped:
    """Around anything that is printed. Text that must fit into a width is escaped before it is measured; this is for
    the rest, and for what was forgotten."""

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._shown, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
