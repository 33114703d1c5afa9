"""Writes the tables into a Markdown file, or between the markers of one that a person has written."""

from __future__ import annotations

import os
from pathlib import Path

from domain.errors import InvalidInput

BEGIN = "<!-- measured by `shardwise contrast`: begin -->"
END = "<!-- measured by `shardwise contrast`: end -->"


def write_between_markers(path: Path, text: str) -> None:
    """Replaces the text between the two markers of the file and nothing else. Creates the file if there is none.

    `InvalidInput` for a file without markers, so that nobody's text is overwritten, and for one that cannot be written.
    """
    before, after = _around_markers(path)
    try:
        path.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}")
    except OSError as error:
        raise _cannot_write("markdown", path, error) from error


def assert_can_write_between_markers(path: Path) -> None:
    """The same refusals, before anything is measured. Changes nothing."""
    assert_writable("markdown", path)
    _around_markers(path)


def assert_writable(field: str, path: Path) -> None:
    """`InvalidInput` if there is no folder for the file, or it may not be written. Changes nothing."""
    if not path.parent.is_dir():
        raise InvalidInput(field, f"{field}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InvalidInput(field, f"{field}: {path} may not be written")


def _around_markers(path: Path) -> tuple[str, str]:
    try:
        found = path.read_text() if path.exists() else f"{BEGIN}{END}\n"
    except (OSError, UnicodeDecodeError) as error:
        raise _cannot_write("markdown", path, error) from error
    before, begin, rest = found.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InvalidInput("markdown", f"{path} has no lines {BEGIN} and {END} to write between")
    return before, after


def _cannot_write(field: str, path: Path, error: Exception) -> InvalidInput:
    return InvalidInput(field, f"cannot write {path}: {error}")
