"""The exports have the forms of Elle and Porcupine, and mean what the scans judged."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from tests.histories.exports import EVERY_LEVEL, Json, elle_list_append, elle_rw_register, porcupine, save
from tests.histories.made_up import HISTORIES, REPLICA, Story
from tests.histories.operations import History, Level, Outcome, history_of
from tests.histories.scans import Fault, scan

EXAMPLES = 300
KEY = "product/SKU-1"


@pytest.fixture
def returned() -> History:
    """Two sessions; a write of `b` whose outcome nobody learned, read afterwards; one that failed; a weak read."""
    story = Story()
    story.write(1, session="a", during=(100, 130))
    story.write(session="b", during=(110, 115), outcome=Outcome.UNKNOWN)
    story.write(session="a", during=(140, 150), outcome=Outcome.FAIL)
    story.read(2, Level.STRONG, session="b", during=(160, 170))
    story.read(1, Level.EVENTUAL, session="a", server=REPLICA, during=(180, 190))
    return story.history()


def test_the_form_of_elles_list_append(returned: History) -> None:
    assert elle_list_append(returned) == [
        {"index": 0, "type": "invoke", "f": "txn", "value": [["append", KEY, 1]], "process": 0, "time": 0},
        {"index": 1, "type": "invoke", "f": "txn", "value": [["append", KEY, 2]], "process": 1, "time": 10},
        {"index": 2, "type": "ok", "f": "txn", "value": [["append", KEY, 1]], "process": 0, "time": 30},
        {"index": 3, "type": "invoke", "f": "txn", "value": [["append", KEY, 3]], "process": 0, "time": 40},
        {"index": 4, "type": "fail", "f": "txn", "value": [["append", KEY, 3]], "process": 0, "time": 50},
        {"index": 5, "type": "invoke", "f": "txn", "value": [["r", KEY, None]], "process": 2, "time": 60},
        {"index": 6, "type": "ok", "f": "txn", "value": [["r", KEY, [1, 2]]], "process": 2, "time": 70},
        {"index": 7, "type": "info", "f": "txn", "value": [["append", KEY, 2]], "process": 1, "time": 71},
    ]


def test_the_form_of_elles_rw_register(returned: History) -> None:
    values = [(row["type"], row["value"]) for row in elle_rw_register(returned, EVERY_LEVEL)]
    assert values[:3] == [("invoke", [["w", KEY, 1]]), ("invoke", [["w", KEY, 2]]), ("ok", [["w", KEY, 1]])]
    assert values[5:9] == [
        ("invoke", [["r", KEY, None]]),
        ("ok", [["r", KEY, 2]]),
        ("invoke", [["r", KEY, None]]),
        ("ok", [["r", KEY, 1]]),
    ]


def test_the_form_of_porcupines_events(returned: History) -> None:
    write = {"op": "write", "key": KEY, "level": ""}
    assert porcupine(returned) == [
        {"ClientId": 0, "Kind": False, "Value": write, "Id": 0},
        {"ClientId": 1, "Kind": False, "Value": write, "Id": 1},
        {"ClientId": 0, "Kind": True, "Value": {"unknown": False, "version": 1}, "Id": 0},
        {"ClientId": 2, "Kind": False, "Value": {"op": "read", "key": KEY, "level": "strong"}, "Id": 3},
        {"ClientId": 2, "Kind": True, "Value": {"unknown": False, "version": 2}, "Id": 3},
        {"ClientId": 0, "Kind": False, "Value": {"op": "read", "key": KEY, "level": "eventual"}, "Id": 4},
        {"ClientId": 0, "Kind": True, "Value": {"unknown": False, "version": 1}, "Id": 4},
        {"ClientId": 1, "Kind": True, "Value": {"unknown": True, "version": 0}, "Id": 1},
    ]


def test_a_version_that_only_a_failed_write_can_have_made_is_its_own() -> None:
    story = Story()
    story.write(outcome=Outcome.FAIL)
    story.read(1, Level.STRONG)
    rows = elle_list_append(story.history())
    assert [row["value"] for row in rows if row["type"] != "invoke"] == [[["append", KEY, 1]], [["r", KEY, [1]]]]


def test_a_runs_files(returned: History, tmp_path: Path) -> None:
    save(returned, tmp_path / "run")
    texts = {file.name: file.read_text() for file in (tmp_path / "run").iterdir()}
    assert history_of(texts.pop("history.jsonl")) == returned
    assert {name: json.loads(text) for name, text in texts.items()} == {
        "elle-list-append.json": elle_list_append(returned),
        "elle-rw-register.json": elle_rw_register(returned),
        "porcupine.json": porcupine(returned),
    }


def assert_is_a_jepsen_history(rows: Sequence[Json], writes: str) -> None:
    """What jepsen.history and Elle's `check` refuse otherwise, or would misread."""
    running: dict[int, Json] = {}
    over: set[int] = set()
    for at, row in enumerate(rows):
        assert row["index"] == at
        assert at == 0 or row["time"] >= rows[at - 1]["time"]
        ((kind, key, _),) = row["value"]
        assert kind in ("r", writes)
        if row["type"] == "invoke":
            assert row["process"] not in running
            assert row["process"] not in over
            running[row["process"]] = row
            continue
        invoked = running.pop(row["process"])
        assert invoked["value"][0][:2] == [kind, key]
        assert kind == "r" or invoked["value"] == row["value"]
        if row["type"] == "info":
            over.add(row["process"])
    assert not running


def elle_finds_nothing(rows: Sequence[Json]) -> bool:
    """What `elle.list-append` calls strict serializability, for transactions of one micro-operation, with each
    append's place known: no aborted read, and no cycle of what depends on whom and what was over before what."""
    appends: dict[tuple[str, int], int] = {}
    reads: dict[tuple[str, int], list[int]] = defaultdict(list)
    graph: TopologicalSorter[int] = TopologicalSorter()
    invoked: dict[int, int] = {}
    ended: list[int] = []
    over_before: dict[int, list[int]] = {}
    for row in rows:
        ((kind, key, value),) = row["value"]
        if row["type"] == "invoke":
            invoked[row["process"]] = row["index"]
            over_before[row["index"]] = list(ended)
            continue
        operation = invoked[row["process"]]
        if row["type"] == "fail":
            continue
        if kind == "append":
            appends[key, value] = operation
        elif row["type"] == "ok":
            reads[key, len(value)].append(operation)
        graph.add(operation, *over_before[operation])
        if row["type"] == "ok":
            ended.append(operation)
    for (key, version), operation in appends.items():
        if (key, version - 1) in appends:
            graph.add(operation, appends[key, version - 1])
        graph.add(operation, *reads.get((key, version - 1), []))
    for (key, version), readers in reads.items():
        for each in range(1, version + 1):
            if (key, each) not in appends:
                return False
        for reader in readers if version else []:
            graph.add(reader, appends[key, version])
    try:
        graph.prepare()
    except CycleError:
        return False
    return True


def appends_once(rows: Sequence[Json]) -> bool:
    """Else Elle refuses the history."""
    appended = [str(row["value"]) for row in rows if row["type"] == "invoke" and row["value"][0][0] == "append"]
    return len(set(appended)) == len(appended)


def porcupine_says_ok(events: Sequence[Json]) -> bool:
    """What `porcupine.CheckEvents` does, with the model of README.md."""
    calls = {event["Id"]: event["Value"] for event in events if not event["Kind"]}
    returns = {event["Id"]: event["Value"] for event in events if event["Kind"]}
    before: dict[int, set[int]] = {}
    ended: set[int] = set()
    for event in events:
        if event["Kind"]:
            ended.add(event["Id"])
        else:
            before[event["Id"]] = set(ended)
    tried: set[tuple[frozenset[int], tuple[tuple[str, int], ...]]] = set()

    def step(state: dict[str, int], each: int) -> dict[str, int] | None:
        asked: dict[str, Any] = calls[each]
        version, answered = state.get(asked["key"], 0), returns[each]
        if asked["op"] == "write":
            right = answered["unknown"] or answered["version"] == version + 1
            return {**state, asked["key"]: version + 1} if right else None
        right = answered["version"] == version if asked["level"] == "strong" else answered["version"] <= version
        return state if right else None

    def can_go_on(done: frozenset[int], state: dict[str, int]) -> bool:
        if len(done) == len(calls):
            return True
        here = (done, tuple(sorted(state.items())))
        if here in tried:
            return False
        tried.add(here)
        following = (
            (each, step(state, each)) for each, earlier in before.items() if each not in done and earlier <= done
        )
        return any(can_go_on(done | {each}, after) for each, after in following if after is not None)

    return can_go_on(frozenset(), {})


def test_the_exports_mean_what_the_scans_judge() -> None:
    verdicts: Counter[tuple[str, bool]] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    @given(drawn=HISTORIES)
    def agree(drawn: History) -> None:
        history = replace(drawn, at_rest_from=None)
        assert_is_a_jepsen_history(elle_rw_register(history, EVERY_LEVEL), "w")
        mixed = [each for each in scan(history) if each.fault not in (Fault.OWN_WRITE_MISSED, Fault.WENT_BACK)]
        assert porcupine_says_ok(porcupine(history)) == (mixed == []), history.text()
        verdicts["porcupine", mixed == []] += 1

        strong = history.at_level(Level.STRONG)
        rows = elle_list_append(strong)
        assert_is_a_jepsen_history(rows, "append")
        faults = {each.fault for each in scan(strong)}
        if appends_once(rows) and Fault.FROM_NOWHERE not in faults:
            assert elle_finds_nothing(rows) == (not faults), history.text()
            verdicts["elle", not faults] += 1
        else:
            assert faults & {Fault.LOST_WRITE, Fault.FROM_NOWHERE}

    agree()
    for checker in ("elle", "porcupine"):
        assert min(verdicts[checker, True], verdicts[checker, False]) >= EXAMPLES // 10, verdicts
