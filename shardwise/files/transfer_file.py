"""A CSV file of transfers of any length: read line by line, and recognised by the hash of its content."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from domain.errors import InvalidInput
from domain.identifiers import shown
from domain.limits import LINE_BYTES_MAX, TRANSFERS_BYTES_MAX
from domain.transfers import TRANSFER_COLUMNS, Transfer, transfer_of_row
from shardwise.files.order_file import NumberedLine, read_batches


@dataclass(frozen=True, slots=True)
class InvalidLine:
    """`transfer_id` and `source` as they were given, as far as they were."""

    n: int
    transfer_id: str
    source: str
    message: str


@dataclass(frozen=True, slots=True)
class GoodLine:
    n: int
    transfer: Transfer


def open_transfers(path: Path) -> BufferedReader:
    """`InvalidInput` if it cannot be read, cannot be read twice (a pipe), or is too large."""
    try:
        file = path.open("rb")
        if not file.seekable():
            file.close()
            raise InvalidInput("file", f"file: {shown(str(path), 200)} is a pipe: expected a file")
        size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InvalidInput("file", f"file: cannot read {shown(str(path), 200)}: {error.strerror}") from None
    if size > TRANSFERS_BYTES_MAX:
        file.close()
        raise InvalidInput("file", f"file: expected at most {TRANSFERS_BYTES_MAX} bytes, got {size}")
    return file


def batch_id_of(file: BufferedReader) -> str:
    """Names the batch: the hash of the file's content."""
    file.seek(0)
    try:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise InvalidInput("file", f"file: cannot read: {error.strerror}") from None


async def read_transfers(file: BufferedReader) -> AsyncIterator[list[GoodLine | InvalidLine]]:
    """All lines except the first and blank ones, in batches. `InvalidInput` for a first line with other columns.

    No field of a transfer can hold a line end, so a line of the file is a line of the table, and a
    fault in one line, such as an open quote, does not affect the next.
    """
    file.seek(0)
    header: Sequence[str] | None = None
    async for batch in read_batches(file):
        lines = iter(batch)
        if header is None:
            header = _header(next(lines))
        yield [_parsed(line, header) for line in lines]
    if header is None:
        raise InvalidInput(
            "file",
            f"file is empty: expected a first line with the columns {','.join(TRANSFER_COLUMNS)}\nnothing was begun",
        )


def _header(line: NumberedLine) -> list[str]:
    wanted = ",".join(TRANSFER_COLUMNS)
    fields = _fields(line)
    if sorted(fields) != sorted(TRANSFER_COLUMNS):
        got = shown(",".join(fields), chars_max=len(wanted) + 40)
        raise InvalidInput("file", f"line {line.number}: expected the columns {wanted}, got {got}\nnothing was begun")
    return fields


def _parsed(line: NumberedLine, header: Sequence[str]) -> GoodLine | InvalidLine:
    row: dict[str, str] = {}
    try:
        fields = _fields(line)
        row = dict(zip(header, fields, strict=False))
        if len(fields) != len(header):
            raise InvalidInput(None, f"expected {len(header)} fields, got {len(fields)}")
        return GoodLine(line.number, transfer_of_row(row))
    except InvalidInput as fault:
        return InvalidLine(line.number, row.get("transfer_id", ""), row.get("source", ""), fault.message)


def _fields(line: NumberedLine) -> list[str]:
    if len(line.text) > LINE_BYTES_MAX:
        raise InvalidInput(None, f"expected at most {LINE_BYTES_MAX} bytes in a line")
    try:
        text = line.text.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(None, f"expected UTF-8 text, got the byte 0x{line.text[error.start]:02x}") from None
    if '"' not in text:
        return text.split(",")
    try:
        return next(_records(text), [])
    except csv.Error as error:
        raise InvalidInput(None, f"not CSV: {error}") from None


def _records(text: str) -> Iterator[list[str]]:
    return csv.reader([text], strict=True)
