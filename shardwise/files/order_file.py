"""A file of orders, one JSON document a line, read in batches so that its size does not matter."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from domain.errors import InvalidInput
from domain.identifiers import shown
from domain.limits import LINE_BYTES_MAX, LINE_BYTES_SKIPPED_MAX

BATCH_LINES_MAX = 500
BATCH_BYTES_MAX = 8_000_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class NumberedLine:
    """The `text` of a line that is too long is cut off just behind the limit. `size`: the line's bytes in the file."""

    number: int
    text: bytes
    size: int


def open_orders(path: Path) -> BinaryIO:
    """`-` is standard input. `InvalidInput` if the file cannot be read."""
    if str(path) == "-":
        return sys.stdin.buffer
    try:
        return path.open("rb")
    except OSError as error:
        raise InvalidInput("file", f"file: cannot read {shown(str(path), 200)}: {error.strerror}") from None


def path_of(file: object) -> Path:
    """The path, or `InvalidInput` if it is none."""
    if isinstance(file, str | Path):
        return Path(file)
    raise InvalidInput("file", f"file: expected a path, got {shown(file)}")


@contextlib.contextmanager
def opened_orders(file: str | Path | BinaryIO) -> Iterator[BinaryIO]:
    """A file that is open already is used as it is, and left open."""
    if not isinstance(file, str | Path) and hasattr(file, "readline"):
        yield file
        return
    path = path_of(file)
    source = open_orders(path)
    try:
        yield source
    finally:
        if str(path) != "-":
            source.close()


async def read_batches(file: BinaryIO) -> AsyncIterator[list[NumberedLine]]:
    """The lines that are not blank. Reads one batch ahead.

    In a daemon thread: a pipe that stays silent must not keep an interrupted command from ending.
    """
    loop = asyncio.get_running_loop()
    batches: asyncio.Queue[list[NumberedLine] | BaseException | None] = asyncio.Queue(maxsize=1)
    is_abandoned = threading.Event()

    def hand_over(batch: list[NumberedLine] | BaseException | None) -> None:
        if is_abandoned.is_set():
            raise asyncio.CancelledError
        asyncio.run_coroutine_threadsafe(batches.put(batch), loop).result()

    def pump() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            try:
                for batch in _batches(file):
                    hand_over(batch)
            except Exception as error:
                hand_over(error)
            else:
                hand_over(None)

    threading.Thread(target=pump, name="read orders", daemon=True).start()
    try:
        while (batch := await batches.get()) is not None:
            if isinstance(batch, OSError):
                raise InvalidInput("file", f"file: cannot read on: {batch.strerror}")
            if isinstance(batch, BaseException):
                raise batch
            yield batch
    finally:
        # The thread must not go on waiting for room in the queue.
        is_abandoned.set()
        while not batches.empty():
            batches.get_nowait()


def _batches(file: BinaryIO) -> Iterator[list[NumberedLine]]:
    """The lines that could be read come first, then the error that ended the reading."""
    batch: list[NumberedLine] = []
    size = 0
    fault: Exception | None = None
    try:
        for line in _lines(file):
            batch.append(line)
            size += len(line.text)
            if len(batch) >= BATCH_LINES_MAX or size >= BATCH_BYTES_MAX:
                yield batch
                batch, size = [], 0
    except (OSError, InvalidInput) as error:
        fault = error
    if batch:
        yield batch
    if fault is not None:
        raise fault


def _lines(file: BinaryIO) -> Iterator[NumberedLine]:
    number = 0
    while part := file.readline(LINE_BYTES_MAX + 2):
        number += 1
        size = len(part)
        text = part
        while not part.endswith(b"\n") and (part := file.readline(LINE_BYTES_MAX)):
            size += len(part)
            if size > LINE_BYTES_SKIPPED_MAX:
                message = (
                    f"file: line {number} has no end within {LINE_BYTES_SKIPPED_MAX} bytes: expected one record a line"
                )
                raise InvalidInput("file", message)
        text = text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text
        text = text.rstrip(b"\r\n")
        if text.strip():
            yield NumberedLine(number, text, size)
