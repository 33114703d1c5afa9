"""Histories in the forms of other checkers: Elle and Porcupine. README.md says how to run them, and what to expect."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.histories.operations import History, Level, Operation, Outcome
from tests.histories.writers import writers_of

STRONG_ONLY = frozenset({Level.STRONG})
EVERY_LEVEL = frozenset(Level)
ELLE_TYPES = {Outcome.OK: "ok", Outcome.FAIL: "fail", Outcome.UNKNOWN: "info"}

Json = dict[str, Any]


def elle_list_append(history: History, levels: Collection[Level] = STRONG_ONLY) -> list[Json]:
    """For `elle.list-append`. A row of version 3 is the list [1, 2, 3]; its next write appends 4."""
    return _elle(history, levels, "append", lambda version: list(range(1, version + 1)))


def elle_rw_register(history: History, levels: Collection[Level] = STRONG_ONLY) -> list[Json]:
    """For `elle.rw-register`. A row is a register that holds its version, nil where there is no row. Smaller than
    lists, and Elle finds less in it: it does not know that 4 follows 3."""
    return _elle(history, levels, "w", lambda version: version or None)


def porcupine(history: History, levels: Collection[Level] = EVERY_LEVEL) -> list[Json]:
    """For `porcupine.CheckEvents`: what Go's `encoding/json` reads into `[]porcupine.Event`. `Kind` is false for a call
    and true for a return. What is unknown returns after all others, and failed operations are left out."""
    chosen = [each for each in _chosen(history, levels) if each.is_ok or each.is_open_write]
    lanes = _lanes(chosen, "client")
    return [
        {
            "ClientId": lanes[moment.operation.number],
            "Kind": moment.is_end,
            "Value": _porcupine_output(moment.operation) if moment.is_end else _porcupine_input(moment.operation),
            "Id": moment.operation.number,
        }
        for moment in _moments(chosen)
    ]


def save(history: History, folder: Path) -> None:
    """The history itself, and strong reads and writes in each form, for whoever looks at a run later."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "history.jsonl").write_text(history.text())
    forms = {
        "elle-list-append": elle_list_append(history),
        "elle-rw-register": elle_rw_register(history),
        "porcupine": porcupine(history),
    }
    for name, rows in forms.items():
        lines = ",\n".join(json.dumps(row) for row in rows)
        (folder / f"{name}.json").write_text(f"[{lines}]\n")


@dataclass(frozen=True)
class _Moment:
    operation: Operation
    is_end: bool
    time: int


def _chosen(history: History, levels: Collection[Level]) -> list[Operation]:
    return [each for each in history.operations if each.level is None or each.level in levels]


def _moments(operations: Sequence[Operation]) -> list[_Moment]:
    """Calls and returns in the order of time; of the same time calls first, since they are then concurrent."""
    never = 1 + max((each.returned or each.invoked for each in operations), default=0)
    moments = []
    for operation in operations:
        end = never if operation.outcome is Outcome.UNKNOWN else operation.told_at
        moments += [_Moment(operation, False, operation.invoked), _Moment(operation, True, end)]
    return sorted(moments, key=lambda moment: (moment.time, moment.is_end, moment.operation.number))


def _lanes(operations: Sequence[Operation], field: Literal["client", "session"]) -> Mapping[int, int]:
    """A number for each client or session, as both checkers want it: one operation at a time, and none after an unknown
    outcome. Where a session had more, it has several numbers."""
    free: dict[str, list[int]] = {}
    count = 0
    lanes: dict[int, int] = {}
    for moment in _moments(operations):
        operation = moment.operation
        theirs = free.setdefault(getattr(operation, field), [])
        if moment.is_end:
            if operation.outcome is not Outcome.UNKNOWN:
                theirs.append(lanes[operation.number])
                theirs.sort(reverse=True)
        elif theirs:
            lanes[operation.number] = theirs.pop()
        else:
            lanes[operation.number] = count
            count += 1
    return lanes


def _elle(history: History, levels: Collection[Level], write: str, state: Callable[[int], object]) -> list[Json]:
    chosen = _chosen(history, levels)
    lanes = _lanes(chosen, "session")
    values = _values_written(history)
    started = min((each.invoked for each in chosen), default=0)

    def value(operation: Operation, is_end: bool) -> list[list[Any]]:
        if operation.is_write:
            return [[write, operation.key, values[operation.number]]]
        known = is_end and operation.is_ok
        return [["r", operation.key, state(operation.returned_version) if known else None]]

    return [
        {
            "index": index,
            "type": ELLE_TYPES[moment.operation.outcome] if moment.is_end else "invoke",
            "f": "txn",
            "value": value(moment.operation, moment.is_end),
            "process": lanes[moment.operation.number],
            "time": moment.time - started,
        }
        for index, moment in enumerate(_moments(chosen))
    ]


def _values_written(history: History) -> Mapping[int, int]:
    """What each write wrote. Elle wants it known and written only once, so a write that did not get its version has
    the one that it can have made, and where it made none one that nobody read. A version that only a failed write can
    have made is given to one, for Elle to call it an aborted read."""
    values: dict[int, int] = {}
    for operations in history.by_key().values():
        writers = writers_of(operations)
        values.update(writers.made)
        newest = max([0, *(each.returned_version for each in operations if each.is_ok)])
        orphans = [gap.version for gap in writers.gaps if gap.writer is None]
        others = [each for each in operations if each.is_write and each.number not in writers.made]
        for write in sorted(others, key=lambda each: each.outcome is Outcome.FAIL):
            if orphans and write.outcome is Outcome.FAIL:
                values[write.number] = orphans.pop(0)
            else:
                newest += 1
                values[write.number] = newest
    return values


def _porcupine_input(operation: Operation) -> Json:
    return {"op": str(operation.kind), "key": operation.key, "level": str(operation.level or "")}


def _porcupine_output(operation: Operation) -> Json:
    unknown = operation.outcome is Outcome.UNKNOWN
    return {"unknown": unknown, "version": 0 if unknown else operation.returned_version}
