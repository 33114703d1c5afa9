"""Writes the tables into a Markdown file, or between the markers of one that a person has written."""

from __future__ import annotations

from pathlib import Path

from domain.errors import InvalidInput

BEGIN = "<!-- measured by `shardwise contrast`: begin -->"
END = "<!-- measured by `shardwise contrast`: end -->"


def write_between_markers(path: Path, text: str) -> None:
    """Replaces the text between the two markers of the file and nothing else. Creates the file if there is none.

    `InvalidInput` for a file without markers, so that nobody's text is overwritten, and for one that cannot be written.
    """
    part = f"{BEGIN}\n\n{text.strip()}\n\n{END}"
    try:
        found = path.read_text() if path.exists() else f"{BEGIN}{END}\n"
        before, begin, rest = found.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not begin or not end:
            raise InvalidInput("markdown", f"{path} has no lines {BEGIN} and {END} to write between")
        path.write_text(before + part + after)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("markdown", f"cannot write {path}: {error}") from error
