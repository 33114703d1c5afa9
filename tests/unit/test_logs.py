"""Logs are one line a record, with fields, and say nothing that is the customers'."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from activities.effects import StepFailure, failures_told
from domain.errors import Unreachable
from stack import logs

Lines = io.StringIO


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    yield written
    root.handlers[:] = before
    root.setLevel(level)
    logging.getLogger("temporalio.activity").filters.clear()


@failures_told
async def _step_on_a_dead_shard() -> None:
    error = Unreachable("shard_unreachable", "shard-2 does not answer")
    error.shard = "shard-2"
    raise error


async def test_a_failed_attempt_is_one_line_with_its_fields(lines: Lines) -> None:
    logs.configure(logging.INFO)
    with pytest.raises(StepFailure) as raised:
        await _step_on_a_dead_shard()
    # What the library says of the same failure afterwards is not said again.
    logging.getLogger("temporalio.activity").warning("Completing activity as failed", exc_info=raised.value)
    [line] = lines.getvalue().splitlines()
    assert "shardwise.step: shard-2 does not answer" in line
    assert "shard=shard-2" in line
    assert "code=shard_unreachable" in line


def test_an_unexpected_failure_is_one_line_and_its_traceback_is_for_debug(lines: Lines) -> None:
    def fail() -> None:
        try:
            raise ValueError("first line\nsecond line")
        except ValueError:
            logging.getLogger("somewhere").exception("it broke")

    logs.configure(logging.INFO)
    fail()
    assert lines.getvalue().count("\n") == 1
    assert 'cause="ValueError: first line"' in lines.getvalue()
    logs.configure(logging.DEBUG)
    fail()
    assert "Traceback" in lines.getvalue()


def test_json_logs_are_one_document_a_line(lines: Lines) -> None:
    logs.configure(logging.INFO, "json")
    logging.getLogger("shardwise.step").warning("x\ny", extra={"saga": "order/1", "attempt": 3})
    document = json.loads(lines.getvalue())
    assert (document["message"], document["saga"], document["attempt"]) == ("x", "order/1", 3)
