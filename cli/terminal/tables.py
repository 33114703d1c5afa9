"""Tables that fit the terminal: ids, which a person types again, stay on one line as long as there is room."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import HEAVY_HEAD, SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from domain.text import on_one_line

# The least width of a column that may wrap: as wide as most states and headings.
LOOSE_MIN = 9
# What a column's borders and padding take, with lines between the columns and without.
BORDERED, OPEN = 3, 2


class FittedTable(Table):
    """With too little room, first the lines between the columns go. Then columns wrap, except those in `whole`; those
    in `words` wrap between words only. If that is not enough, each row is shown as one line for each column. Nothing is
    cut off, and control characters are escaped."""

    def __init__(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        whole: Sequence[str],
        title: str | None = None,
        words: Sequence[str] = (),
    ) -> None:
        super().__init__(title=title, title_justify="left")
        rows = [[on_one_line(cell) for cell in row] for row in rows]
        for column in columns:
            self.add_column(column, overflow="fold")
        for row in rows:
            self.add_row(*row)
        self._names, self._cells = columns, rows
        by_column = list(zip(columns, *rows, strict=True))
        self._natural = [max(map(_width, cells)) for cells in by_column]
        # A word that is cut reads badly, so words are kept whole as long as possible.
        self._words = [max(map(_longest_word, cells)) for cells in by_column]
        self._is_whole = [column in whole for column in columns]
        self._keeps_words = [column in words for column in columns]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        count = len(self.columns)
        room = options.max_width - BORDERED * count - 1
        fits = sum(self._natural) <= room
        self.box, self.padding = (HEAVY_HEAD, (0, 1)) if fits else (SIMPLE_HEAD, (0, 1, 0, 0))
        self.show_edge = self.pad_edge = fits
        widths = self._natural if fits else self._widths(options.max_width - OPEN * (count - 1))
        if widths is None:
            yield from self._one_line_per_column()
            return
        for column, width in zip(self.columns, widths, strict=True):
            column.width = width
        yield from super().__rich_console__(console, options)

    def _widths(self, room: int) -> list[int] | None:
        """None if the columns do not fit into `room`."""
        columns = list(zip(self._natural, self._words, self._is_whole, strict=True))
        widths = _lowered(self._natural, [natural if is_whole else word for natural, word, is_whole in columns], room)
        # With several rows a table is worth a word that is cut; with one row it is not.
        if len(self._cells) > 1:
            floors = [
                natural if is_whole else word if keeps_words else min(natural, LOOSE_MIN)
                for (natural, word, is_whole), keeps_words in zip(columns, self._keeps_words, strict=True)
            ]
            widths = _lowered(widths, floors, room)
        return widths if sum(widths) <= room else None

    def _one_line_per_column(self) -> RenderResult:
        if self.title:
            yield self.title
        for number, row in enumerate(self._cells):
            if number:
                yield ""
            grid = Table.grid(padding=(0, OPEN, 0, 0))
            grid.add_column(width=max(map(cell_len, self._names)))
            grid.add_column(overflow="fold")
            for name, cell in zip(self._names, row, strict=True):
                grid.add_row(name, cell)
            yield grid


def _lowered(widths: Sequence[int], floors: Sequence[int], room: int) -> list[int]:
    """The widest are lowered first, and never below their floors."""
    lowered = list(widths)
    while sum(lowered) > room:
        above = [n for n, width in enumerate(lowered) if width > floors[n]]
        if not above:
            break
        lowered[max(above, key=lambda n: lowered[n])] -= 1
    return lowered


def _width(cell: str) -> int:
    return cell_len(cell)


def _longest_word(cell: str) -> int:
    return max(map(cell_len, cell.split()), default=0)
