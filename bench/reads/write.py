"""The run as files: the document, the tables between the marks of the page, and the picture if matplotlib is there."""

from __future__ import annotations

from pathlib import Path

from bench.reads.documents import ReadsDocument
from bench.reads.levels import say
from bench.reads.tables import markdown
from contrast.files import assert_can_write_between_markers, write_between_markers

BY = "make bench-reads"


def assert_can_write(path: Path) -> None:
    """`InvalidInput` before anything is measured. Changes nothing."""
    assert_can_write_between_markers(path.with_suffix(".md"), BY)


def write(document: ReadsDocument, path: Path) -> list[Path]:
    """Writes `path` with the suffixes .json, .md and .svg. Returns what was written."""
    written = [path.with_suffix(".json"), path.with_suffix(".md")]
    written[0].write_text(document.model_dump_json(indent=2) + "\n")
    write_between_markers(written[1], markdown(document), BY)
    try:
        from bench.reads.plot import write_plot
    except ImportError as error:
        say(f"no picture: it needs matplotlib ({error}): pip install 'shardwise[plots]'")
        return written
    return [*written, write_plot(document, path.with_suffix(".svg"))]
