"""The commands in the documents, and what they say will be shown."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# In reading order.
DOCUMENTS = tuple(
    ROOT / name
    for name in (
        *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"),
        *("docs/commands.md", "docs/concepts.md", "docs/operating.md", "docs/replicas.md", "docs/consistency.md"),
        *("docs/contract.md", "docs/contrast.md", "docs/testing.md"),
        *sorted(str(each.relative_to(ROOT)) for each in (ROOT / "docs" / "decisions").glob("*.md")),
    )
)
# What a block that begins with ``` alone and is no picture is made of: whatever else is typed has to be named here.
PROGRAMS = ("shardwise", "make", "docker", "export")
_FENCED = re.compile(r"^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(rf"`((?:{'|'.join(PROGRAMS)}) [^`]+)`")
_SETTING = re.compile("[A-Z_]+=")
_PICTURE = re.compile("[─▶]")


@dataclass(frozen=True)
class Typed:
    """A line to type. `inline`: in running text. `shown`: the JSON that the document shows below it; None: none.
    `is_program`: a whole program in Python, which is run instead."""

    document: str
    line: str
    inline: bool = False
    shown: Any = None
    is_program: bool = False

    @property
    def settings(self) -> dict[str, str]:
        """What stands before the program, such as `SHARDWISE_POOL_SIZE=5`."""
        return dict(word.split("=", 1) for word in takewhile(_SETTING.match, shlex.split(self.line)))

    @property
    def words(self) -> list[str]:
        """The program and its arguments. What it says goes into no file."""
        if self.is_program:
            return ["python"]
        return list(dropwhile(_SETTING.match, shlex.split(self.line.partition(" > ")[0])))


def typed_in(document: Path) -> Iterator[Typed]:
    """In the document's order, comments left out."""
    text, name = document.read_text(encoding="utf-8"), document.relative_to(ROOT).as_posix()
    end = 0
    waiting: list[Typed] = []
    for block in _FENCED.finditer(text):
        waiting += _inline(name, text[end : block.start()])
        end = block.end()
        match block["language"]:
            case "":
                if not _PICTURE.search(block["text"]):
                    waiting += [Typed(name, line) for line in _lines(block["text"])]
            case "text":  # A picture too.
                pass
            case "python":
                waiting.append(Typed(name, block["text"], is_program=True))
            case "json":
                last = waiting.pop()
                waiting.append(replace(last, shown=json.loads(block["text"])))
            case language:
                # docs/contract.md: what any client sends and gets, `tests.support.contract`.
                assert language.startswith("json "), f"{name}: nobody looks at what a block of {language} shows"
    yield from waiting
    yield from _inline(name, text[end:])


def all_typed() -> list[Typed]:
    """Each line once, in the order of `DOCUMENTS`: its place with a shown result if any, else in a block, else any."""
    found = [each for document in DOCUMENTS for each in typed_in(document)]
    best: dict[str, Typed] = {}
    for each in sorted(found, key=lambda typed: (typed.shown is None, typed.inline)):
        best.setdefault(each.line, each)
    chosen = set(map(id, best.values()))
    return [each for each in found if id(each) in chosen]


def _inline(document: str, text: str) -> list[Typed]:
    return [Typed(document, " ".join(line.split()), inline=True) for line in _INLINE.findall(text)]


def _lines(block: str) -> Iterator[str]:
    for line in block.splitlines():
        command = re.split(r"(?:^|\s)#", line)[0].strip()
        if command:
            yield command


def block_of(document: str, language: str) -> str:
    """The text of the only block in this language."""
    text = (ROOT / document).read_text(encoding="utf-8")
    [block] = [each["text"] for each in _FENCED.finditer(text) if each["language"] == language]
    return block


def shape(document: Any) -> Any:
    """The names of it, without the values."""
    if isinstance(document, dict):
        return {name: shape(value) for name, value in document.items()}
    return [shape(each) for each in document[:1]] if isinstance(document, list) else None
