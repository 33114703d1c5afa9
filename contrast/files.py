"""Writes the tables into a Markdown file, or between the markers of one that a person has written."""

from __future__ import annotations

import os
from pathlib import Path

from domain.errors import InvalidInput

BY = "shardwise contrast"


def write_between_markers(path: Path, text: str, by: str = BY) -> None:
    """Replaces the text between the two markers of the file and nothing else. Creates the file if there is none.
    `by`: what is typed to write it, which the markers name.

    `InvalidInput` for a file without markers, so that nobody's text is overwritten, and for one that cannot be written.
    """
    before, after = _around_markers(path, by)
    begin, end = markers(by)
    try:
        path.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")
    except OSError as error:
        raise _cannot_write("markdown", path, error) from error


def assert_can_write_between_markers(path: Path, by: str = BY) -> None:
    """The same refusals, before anything is measured. Changes nothing."""
    assert_writable("markdown", path)
    _around_markers(path, by)


def markers(by: str = BY) -> tuple[str, str]:
    return f"<!-- measured by `{by}`: begin -->", f"<!-- measured by `{by}`: end -->"


def assert_writable(field: str, path: Path) -> None:
    """`InvalidInput` if there is no folder for the file, or it may not be written. Changes nothing."""
    if not path.parent.is_dir():
        raise InvalidInput(field, f"{field}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InvalidInput(field, f"{field}: {path} may not be written")


def _around_markers(path: Path, by: str) -> tuple[str, str]:
    first, last = markers(by)
    try:
        found = path.read_text() if path.exists() else f"{first}{last}\n"
    except (OSError, UnicodeDecodeError) as error:
        raise _cannot_write("markdown", path, error) from error
    before, begin, rest = found.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise InvalidInput("markdown", f"{path} has no lines {first} and {last} to write between")
    return before, after


def _cannot_write(field: str, path: Path, error: Exception) -> InvalidInput:
    return InvalidInput(field, f"cannot write {path}: {error}")
