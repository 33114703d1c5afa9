"""Logs are one line a record, with fields, and hold no customer's data."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest

from activities.effects import StepFailure, failures_translated
from domain.errors import Unreachable
from stack import logs


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.getLogger("temporalio.activity").filters.clear()


@failures_translated
async def _step_on_a_dead_shard() -> None:
    error = Unreachable("shard_unreachable", "shard-2 does not answer")
    error.shard = "shard-2"
    raise error


async def test_a_failed_attempt_is_one_line_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(logging.INFO)
    with pytest.raises(StepFailure) as raised:
        await _step_on_a_dead_shard()
    # The library logs the same failure afterwards; that line is dropped.
    logging.getLogger("temporalio.activity").warning("Completing activity as failed", exc_info=raised.value)
    [line] = capsys.readouterr().err.splitlines()
    assert "shardwise.step: shard-2 does not answer" in line
    assert "shard=shard-2" in line
    assert "code=shard_unreachable" in line


@failures_translated
async def _step_on_a_frozen_shard() -> None:
    await asyncio.Event().wait()


async def test_an_attempt_that_times_out_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(logging.INFO)
    attempt = asyncio.create_task(_step_on_a_frozen_shard())
    await asyncio.sleep(0)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        await attempt
    logging.getLogger("temporalio.activity").warning("Completing activity as failed", exc_info=raised.value)
    [line] = capsys.readouterr().err.splitlines()
    assert "shardwise.step: the attempt ran out of time" in line
    assert "code=given_up" in line


def test_an_unexpected_failure_is_one_line_and_its_traceback_is_for_debug(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        try:
            raise ValueError("first line\nsecond line")
        except ValueError:
            logging.getLogger("somewhere").exception("it broke")

    logs.configure(logging.INFO)
    fail()
    [line] = capsys.readouterr().err.splitlines()
    assert 'cause="ValueError: first line"' in line
    logs.configure(logging.DEBUG)
    fail()
    assert "Traceback" in capsys.readouterr().err


def test_json_logs_are_one_document_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(logging.INFO, "json")
    logging.getLogger("shardwise.step").warning("x\ny", extra={"saga": "order/1", "attempt": 3})
    document = json.loads(capsys.readouterr().err)
    assert (document["message"], document["saga"], document["attempt"]) == ("x", "order/1", 3)
