"""The outcomes of a batch as a CSV file beside the batch's file: one row for each of its lines, in the same order."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from domain.errors import InvalidInput
from domain.identifiers import check_identifier
from domain.sagas import Reason
from shards.transfers.batch.outcomes import LineResult, LineStatus
from shardwise.files.transfer_file import InvalidLine

__all__ = ["COLUMNS", "InvalidLines", "LineStatus", "Tally", "outcomes_file", "outcomes_path", "write_outcomes"]

COLUMNS = ("transfer_id", "source", "status", "reason", "detail")


@dataclass
class Tally:
    """`by_reason` counts declined lines and conflicts of ids."""

    statuses: Counter[LineStatus] = field(default_factory=Counter)
    by_reason: Counter[str] = field(default_factory=Counter)


class InvalidLines:
    """Kept on disk until the outcomes are written, since there may be any number of them."""

    def __init__(self) -> None:
        self._file: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - lives as long as this

    def add(self, line: InvalidLine) -> None:
        json.dump([line.n, _id_or_nothing(line.transfer_id), _id_or_nothing(line.source), line.message], self._file)
        self._file.write("\n")

    def read(self) -> Iterator[LineResult]:
        """In the order in which they were added."""
        self._file.seek(0)
        for text in self._file:
            n, transfer_id, source, message = json.loads(text)
            yield LineResult(n, transfer_id, source, LineStatus.INVALID, "", message)

    def close(self) -> None:
        self._file.close()


def outcomes_path(file: Path) -> Path:
    return file.with_name(f"{file.stem}.outcomes.csv")


@contextmanager
def outcomes_file(path: Path) -> Iterator[IO[str]]:
    """A draft that becomes `path` when the block succeeds, and is removed when it fails.

    `InvalidInput` if it cannot be written.
    """
    try:
        descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            os.chmod(draft, 0o666 & ~_umask())
            yield file
        os.replace(draft, path)
    except OSError as error:
        os.unlink(draft)
        raise _cannot_write(path, error) from None
    except BaseException:
        os.unlink(draft)
        raise


async def write_outcomes(
    file: IO[str],
    pages: AsyncIterator[tuple[int, list[LineResult]]],
    invalid: Iterator[LineResult],
    on_conflict: Callable[[int, str], None],
) -> Tally:
    """Merges pages and invalid lines, both in the order of the file. `on_conflict` is called with the number of each
    line whose id names another transfer, and what is wrong with it."""
    tally = Tally()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    waiting = next(invalid, None)
    async for end, page in pages:
        rows = page
        for row in page:
            if row.reason == Reason.ID_CONFLICT:
                on_conflict(row.n, f"transfer_id: {row.detail}")
        while waiting is not None and waiting.n <= end:
            rows.append(waiting)
            waiting = next(invalid, None)
        rows.sort(key=lambda row: row.n)
        _write(writer, rows, tally)
    return tally


def _write(writer: Any, rows: Sequence[LineResult], tally: Tally) -> None:
    writer.writerows((row.transfer_id, row.source, row.status.value, row.reason, row.detail) for row in rows)
    tally.statuses.update(row.status for row in rows)
    tally.by_reason.update(row.reason for row in rows if row.reason)


def _id_or_nothing(text: str) -> str:
    """Only what can be an id: anything else could be a formula to whoever opens the file."""
    try:
        return check_identifier(text, "id")
    except InvalidInput:
        return ""


def _cannot_write(path: Path, error: OSError) -> InvalidInput:
    return InvalidInput("file", f"file: cannot write {path} beside it: {error.strerror}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
