"""Every message that `verify` can report of a violation, read from its source: planted damage must prove each one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import shards.audit

# Where a message is written: first of what is given to a rule, anywhere in what is given to a fault, or in a variable.
_RULES = {"Violation", "Rule", "_without_barrier"}
_FAULTS = {"_leg_fault", "_order_fault", "_stock_fault", "_fault"}
_VARIABLES = {"what"}
_COLUMN = re.compile(r"\{[^}]*\}")
_ANYTHING = ".*"


@dataclass(frozen=True)
class Sentence:
    """`text` as the source has it, `{}` where something is filled in."""

    text: str
    pattern: re.Pattern[str]


def sentence_of(what: str, sentences: Sequence[Sentence]) -> Sentence | None:
    """The one that `what` was formatted from: of several that fit, the one with the most words of its own."""
    fitting = [each for each in sentences if each.pattern.fullmatch(what)]
    return max(fitting, key=lambda each: len(each.text), default=None)


Subject = Literal["orders", "transfers", "read model"]


def all_sentences(of: Subject) -> list[Sentence]:
    """Those of the modules that are about transfers, about the read model, or about anything else."""
    files = [file for file in sorted(Path(shards.audit.__path__[0]).rglob("*.py")) if _subject(file) == of]
    return [sentence for file in files for sentence in _sentences_of(ast.parse(file.read_text()))]


def _subject(file: Path) -> Subject:
    if file.stem in ("read_model", "event_versions"):
        return "read model"
    return "transfers" if file.stem.startswith("transfer") else "orders"


def _sentences_of(tree: ast.Module) -> Iterator[Sentence]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[written, *_]) if name in _RULES:
                yield from _sentence(written)
            case ast.Call(func=ast.Name(id=name), args=given) if name in _FAULTS:
                for written in given:
                    yield from _sentence(written)
            case ast.Assign(targets=[ast.Name(id=name)], value=written) if name in _VARIABLES:
                yield from _sentence(written)


def _sentence(written: ast.expr) -> Iterator[Sentence]:
    match written:
        case ast.JoinedStr(values=parts):
            texts = [part.value if isinstance(part, ast.Constant) else None for part in parts]
        case ast.Constant(value=str(template)):
            texts = _around_columns(template)
        case _:
            return
    fixed = ["{}" if text is None else str(text) for text in texts]
    pattern = "".join(_ANYTHING if text is None else re.escape(str(text)) for text in texts)
    yield Sentence("".join(fixed), re.compile(pattern, re.DOTALL))


def _around_columns(template: str) -> list[str | None]:
    texts: list[str | None] = []
    for number, text in enumerate(_COLUMN.split(template)):
        texts += [text] if number == 0 else [None, text]
    return texts
