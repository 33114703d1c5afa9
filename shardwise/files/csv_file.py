"""A CSV file that is taken as a whole: every line is checked before any is used."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from domain.errors import InvalidInput
from domain.identifiers import shown
from domain.limits import CSV_BYTES_MAX

FAULTS_SHOWN_MAX = 5


class Row(Protocol):
    @property
    def content_hash(self) -> str: ...


R = TypeVar("R", bound=Row)


def read_csv(
    path: Path, columns: Sequence[str], row_of: Callable[[Mapping[str, str]], R], key_of: Callable[[R], str]
) -> list[R]:
    """The file's rows, repeated ones once. `InvalidInput` names the first faults by line and field, and says that
    nothing was imported.

    UTF-8 with or without a byte order mark, any line ends, exactly these columns in any order. The same key twice
    with different content is a fault of the second line.
    """
    try:
        return _rows(_text(path), columns, row_of, key_of)
    except InvalidInput as fault:
        raise InvalidInput(fault.field, f"{fault.message}\nnothing was imported") from None


def _rows(
    text: str, columns: Sequence[str], row_of: Callable[[Mapping[str, str]], R], key_of: Callable[[R], str]
) -> list[R]:
    lines = _fields(text)
    header = _header(lines, columns)
    rows: dict[str, tuple[int, R]] = {}
    faults: list[InvalidInput] = []
    for line, fields in lines:
        try:
            row = row_of(_named(header, fields))
            first_line, first = rows.setdefault(key_of(row), (line, row))
            if first.content_hash != row.content_hash:
                key = columns[0]
                raise InvalidInput(key, f"{key}: {shown(key_of(row))} is in line {first_line} with other content")
        except InvalidInput as fault:
            faults.append(InvalidInput(fault.field, f"line {line}: {fault.message}"))
    if faults:
        raise _summary(faults)
    return [row for _, row in rows.values()]


def _printable(name: str) -> str:
    """File names are bytes; bytes that are no text would break the message."""
    return name.encode(errors="backslashreplace").decode()


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(CSV_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInput("file", f"file: cannot read {_printable(str(path))}: {error.strerror}") from None
    if len(content) > CSV_BYTES_MAX:
        raise InvalidInput("file", f"file: expected at most {CSV_BYTES_MAX} bytes")
    if b"\0" in content:
        line = _line_at(content, content.index(b"\0"))
        raise InvalidInput("file", f"line {line}: expected UTF-8 text, got a NUL byte")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = _line_at(content, error.start)
        raise InvalidInput(
            "file", f"line {line}: expected UTF-8 text, got the byte 0x{content[error.start]:02x}"
        ) from None


def _line_at(content: bytes, position: int) -> int:
    return content.count(b"\n", 0, position) + 1


def _fields(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the number of the line it begins in. Blank lines are skipped."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise InvalidInput("file", f"line {line}: not CSV: {error}") from None


def _header(lines: Iterator[tuple[int, list[str]]], columns: Sequence[str]) -> list[str]:
    wanted = ",".join(columns)
    line, header = next(lines, (1, None))
    if header is None:
        raise InvalidInput("file", f"file is empty: expected a first line with the columns {wanted}")
    if sorted(header) != sorted(columns):
        got = shown(",".join(header), chars_max=len(wanted) + 40)
        raise InvalidInput("file", f"line {line}: expected the columns {wanted}, got {got}")
    return header


def _named(header: Sequence[str], fields: Sequence[str]) -> dict[str, str]:
    if len(fields) != len(header):
        raise InvalidInput(None, f"expected {len(header)} fields, got {len(fields)}")
    return dict(zip(header, fields, strict=True))


def _summary(faults: Sequence[InvalidInput]) -> InvalidInput:
    messages = [fault.message for fault in faults[:FAULTS_SHOWN_MAX]]
    if len(faults) > FAULTS_SHOWN_MAX:
        messages.append(f"and {len(faults) - FAULTS_SHOWN_MAX} more")
    return InvalidInput(faults[0].field, "\n".join(messages))
