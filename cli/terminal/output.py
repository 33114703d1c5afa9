"""What a command says: to a person, or with `--json` to a program as exactly one document on stdout."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from rich.console import Console, ConsoleDimensions, RenderableType

from cli.terminal.escaped import Escaped
from cli.terminal.tables import FittedTable
from domain.errors import ShardwiseError
from domain.text import printable

PIPED_COLUMNS = 200
# In less, tables show borders and no words: let the terminal wrap their lines instead.
COLUMNS_MIN = 60


class _Terminal(Console):
    """As wide as the terminal is at this moment, which somebody may make wider or narrower."""

    @property
    def size(self) -> ConsoleDimensions:
        width, height = super().size
        return ConsoleDimensions(max(width, COLUMNS_MIN), height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size


def _console(stderr: bool) -> Console:
    # Names and amounts are not markup, and not to be coloured by guesswork. A file or pipe has no edge to wrap at but
    # the one that its reader asks for.
    stream = sys.stderr if stderr else sys.stdout
    columns = os.environ.get("COLUMNS", "")
    asked_for = int(columns) if columns.isascii() and columns.isdigit() and len(columns) <= 4 else 0
    width = None if stream.isatty() else asked_for or PIPED_COLUMNS
    return _Terminal(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True, width=width)


@dataclass
class Output:
    """stdout carries the result, stderr progress and, without `--json`, errors.

    A result that cannot be written is an error, `output_failed`. What cannot be told beside it is left untold. With
    `--json` an error that comes behind the one document is told to a person.
    """

    as_json: bool = False
    is_told: bool = False
    stdout: Console = field(default_factory=lambda: _console(stderr=False))
    stderr: Console = field(default_factory=lambda: _console(stderr=True))

    def result(self, document: object, human: RenderableType) -> None:
        """Print a command's one result: a model, a dataclass or a dictionary. Call it once."""
        with _written():
            if self.as_json:
                self._document(TypeAdapter(type(document)).dump_python(document, mode="json", by_alias=True))
            else:
                self.stdout.print(Escaped(human))
            self.stdout.file.flush()
        self.is_told = True

    def error(self, error: ShardwiseError) -> None:
        if self.as_json and not self.is_told:
            try:
                self._document({"error": {"code": error.code, "message": error.message, "field": error.field}})
                self.stdout.file.flush()
                self.is_told = True
                return
            except OSError:
                pass  # Then at least a person is told.
        self.progress(f"shardwise: {error.message}")

    def text(self, text: str) -> None:
        """Print what is no result, as it is: a help text."""
        with _written():
            self.stdout.file.write(text)
            self.stdout.file.flush()

    def progress(self, message: str) -> None:
        with contextlib.suppress(OSError):
            self.stderr.print(printable(message))

    def _document(self, document: dict[str, Any]) -> None:
        self.stdout.file.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ShardwiseError("output_failed", f"cannot write the result: {error.strerror}") from error


_output: ContextVar[Output] = ContextVar("output")


def output() -> Output:
    """The output of the command that runs."""
    return _output.get()


def use_output(chosen: Output) -> None:
    _output.set(chosen)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str | None = None,
    whole: Sequence[str] = (),
    words: Sequence[str] = (),
) -> FittedTable:
    """The one look of a table. Numbers go in as text, amounts as decimal strings. `whole`: the columns of what one
    types again; none given: the first. `words`: columns that may wrap between words only."""
    return FittedTable(columns, rows, whole or columns[:1], title, words)


def listed(made: FittedTable, none: str) -> RenderableType:
    """A list for a person: `none` where there is nothing in it, under the table's title."""
    if made.row_count:
        return made
    return f"{made.title}: {none}" if made.title else none
