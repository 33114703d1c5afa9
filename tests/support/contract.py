"""docs/contract.md as a test reads it: what is sent, and what comes back."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "contract.md"
_BLOCK = re.compile(r"^```json (?P<info>[^\n]+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """`about`: the words behind ```json: `start TYPE QUEUE ID`, `result ID`, `failure ID`, `update ID NAME`."""

    about: tuple[str, ...]
    document: Any


@dataclass(frozen=True)
class Start:
    workflow_type: str
    queue: str
    workflow_id: str
    document: Any


def blocks() -> list[Block]:
    """In the order of the page."""
    found = _BLOCK.finditer(PAGE.read_text(encoding="utf-8"))
    return [Block(tuple(each["info"].split()), json.loads(each["text"])) for each in found]


def starts() -> list[Start]:
    return [start_of(each) for each in blocks() if each.about[0] == "start"]


def start_of(block: Block) -> Start:
    _, workflow_type, queue, workflow_id = block.about
    return Start(workflow_type, queue, workflow_id, block.document)


def matches(expected: Any, got: Any) -> bool:
    """`"?"` on the page stands for a fingerprint."""
    if expected == "?":
        return isinstance(got, str) and re.fullmatch("[0-9a-f]{32}", got) is not None
    if isinstance(expected, dict) and isinstance(got, dict):
        return expected.keys() == got.keys() and all(matches(expected[name], got[name]) for name in expected)
    return bool(expected == got)
