"""Numbers that would make a workflow that runs for ever spin, or sleep when it should work."""

from __future__ import annotations

import json
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload

from domain.errors import InvalidInput
from workflows.entrance.entrances import read_start


def start(workflow_type: str, workflow_id: str, request: dict[str, Any]) -> Any:
    return read_start(workflow_type, workflow_id, [Payload(metadata={"encoding": b"json/plain"}, data=_json(request))])


def _json(request: dict[str, Any]) -> bytes:
    return json.dumps(request).encode()


@pytest.mark.parametrize("seconds", [1e-9, 0.999, 60.1, 31_536_000])
def test_a_sweeper_sweeps_before_anybody_waits_for_it_and_rests(seconds: float) -> None:
    assert start("InDoubtSweeper", "in-doubt-sweeper", {"every_seconds": 1}).every_seconds == 1
    with pytest.raises(InvalidInput, match="every_seconds: expected 1 to 60 seconds"):
        start("InDoubtSweeper", "in-doubt-sweeper", {"every_seconds": seconds})


@pytest.mark.parametrize("events", [1, 9])
def test_a_batch_gets_on_in_each_of_its_histories(events: int) -> None:
    batch = {"batch_id": "b1", "lines": {"shard-1": 1}}
    assert start("TransferBatchWorkflow", "transfer-batch/b1", {**batch, "options": {"events_max": 10}})
    with pytest.raises(InvalidInput, match=r"options\.events_max"):
        start("TransferBatchWorkflow", "transfer-batch/b1", {**batch, "options": {"events_max": events}})


@pytest.mark.parametrize("name", ["range_lines", "stretch_lines"])
def test_a_batch_that_was_started_before_a_rename_keeps_its_option(name: str) -> None:
    batch = {"batch_id": "b1", "lines": {"shard-1": 1}, "options": {name: 77}}
    assert start("TransferBatchWorkflow", "transfer-batch/b1", batch).options.range_lines == 77
