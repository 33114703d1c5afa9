"""What a command prints: text for a person, or with `--json` exactly one document on stdout for a program."""

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
from cli.terminal.served import document as read_document
from cli.terminal.tables import FittedTable
from domain.errors import ShardwiseError
from domain.text import printable
from shardwise.reading import Served

PIPED_COLUMNS = 200
# With fewer columns tables show borders and no words: the terminal shall wrap their lines instead.
COLUMNS_MIN = 60


class _Terminal(Console):
    """As wide as the terminal is now: somebody may resize it."""

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

    A result that cannot be written is an error, `output_failed`; progress that cannot be written is dropped. With
    `--json`, an error that comes after the one document is printed to stderr.
    """

    as_json: bool = False
    is_written: bool = False
    served: Sequence[Served] = ()
    """What was read at a level, for `read` in the document."""
    stdout: Console = field(default_factory=lambda: _console(stderr=False))
    stderr: Console = field(default_factory=lambda: _console(stderr=True))

    def result(self, document: object, human: RenderableType) -> None:
        """Print a command's one result: a model, a dataclass or a dictionary. Call it once."""
        with _write_errors():
            if self.as_json:
                fields = TypeAdapter(type(document)).dump_python(document, mode="json", by_alias=True)
                self._document({**fields, "read": read_document(self.served)} if self.served else fields)
            else:
                self.stdout.print(Escaped(human))
            self.stdout.file.flush()
        self.is_written = True

    def error(self, error: ShardwiseError) -> None:
        if self.as_json and not self.is_written:
            try:
                self._document({"error": {"code": error.code, "message": error.message, "field": error.field}})
                self.stdout.file.flush()
                self.is_written = True
                return
            except OSError:
                pass  # Then it is at least printed to stderr.
        self.progress(f"shardwise: {error.message}")

    def text(self, text: str) -> None:
        """Print a text that is no result, such as a help text, as it is."""
        with _write_errors():
            self.stdout.file.write(text)
            self.stdout.file.flush()

    def progress(self, message: str) -> None:
        with contextlib.suppress(OSError):
            self.stderr.print(printable(message))

    def _document(self, document: dict[str, Any]) -> None:
        self.stdout.file.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def _write_errors() -> Iterator[None]:
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
    """All tables look like this. Numbers are passed as text, amounts as decimal strings. `whole`: columns that are not
    wrapped, since a person types their values again; by default the first. `words`: columns that wrap between words
    only."""
    return FittedTable(columns, rows, whole or columns[:1], title, words)


def table_or(made: FittedTable, empty: str) -> RenderableType:
    """The table; if it has no rows, the text `empty` under its title."""
    if made.row_count:
        return made
    return f"{made.title}: {empty}" if made.title else empty
