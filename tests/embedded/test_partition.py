"""A shard that is cut off from its clients: what goes on, what waits, and how it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from stack.embedded.partition import partition_of
from stack.embedded.record import StackRecord
from tests.support.command import Shardwise

SHARD, SKU = "shard-1", "APPLE"


def is_cut_off(shardwise: Shardwise) -> bool:
    return partition_of(shardwise.data_dir, SHARD) is not None


def healers() -> list[psutil.Process]:
    return [each for each in psutil.process_iter() if "stack.embedded.healer" in " ".join(_line(each))]


def _line(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@pytest.fixture
def session(tmp_path: Path) -> str:
    return str(tmp_path / "me.session")


def test_a_comment_is_taken_while_its_home_is_cut_off_and_comes_home(shardwise: Shardwise, session: str) -> None:
    assert shardwise.inside("product", "show", SKU).document["shard"] == SHARD
    with shardwise.begin("partition", SHARD, "--for", "60") as cut:
        while not is_cut_off(shardwise):
            assert cut.poll() is None
        [shard] = [each for each in shardwise.inside("status").document["shards"] if each["name"] == SHARD]
        assert (shard["up"], "partitioned_until" in shard) == (False, True)
        taken = shardwise.inside("comment", "post", SKU, "crisp", "--customer", "rich", "--session", session).document
        assert (taken["at_home"], taken["shard"] != SHARD) == (False, True)
        thread = shardwise.inside("comment", "thread", SKU, "--session", session).document
        assert [each["on_its_way_from"] for each in thread["comments"]] == [taken["shard"]]
        assert thread["missing"] == [SHARD]
        again = shardwise("partition", SHARD, "--for", "5")
        assert (again.exit_code, again.document["error"]["code"]) == (1, "already_partitioned")
        # Whoever interrupts it heals it.
        cut.send_signal(signal.SIGINT)
        cut.wait(30)
    assert not is_cut_off(shardwise)
    home = shardwise.once(
        lambda found: [each["on_its_way_from"] for each in found["comments"]] == [None], "comment", "thread", SKU
    )
    assert [each["comment_id"] for each in home["comments"]] == [taken["comment_id"]]
    assert shardwise.inside("verify").document["ok"]


def test_a_killed_command_leaves_one_who_heals(shardwise: Shardwise) -> None:
    with shardwise.begin("partition", SHARD, "--for", "3") as cut:
        while not is_cut_off(shardwise):
            assert cut.poll() is None
        os.kill(cut.pid, signal.SIGKILL)
        cut.wait(30)
    assert is_cut_off(shardwise)
    mine = healers()
    assert mine
    psutil.wait_procs(mine, timeout=30)
    assert not is_cut_off(shardwise)
    assert shardwise.inside("product", "show", SKU, "--consistency", "strong").exit_code == 0


def test_up_heals_it(shardwise: Shardwise) -> None:
    with shardwise.begin("partition", SHARD, "--for", "60") as cut:
        while not is_cut_off(shardwise):
            assert cut.poll() is None
        assert shardwise("up", "--detach").exit_code == 0
        assert cut.wait(30) == 0
    assert not is_cut_off(shardwise)
    assert StackRecord.load(shardwise.data_dir).processes[SHARD].pid
    psutil.wait_procs(healers(), timeout=10)
    assert healers() == []


@pytest.mark.parametrize(
    ("arguments", "field"), [(("shard-9",), "shard"), ((SHARD, "--for", "0"), "for"), ((SHARD, "--for", "9999"), "for")]
)
def test_what_cannot_be_cut_off_is_said(shardwise: Shardwise, arguments: tuple[str, ...], field: str) -> None:
    refused = shardwise("partition", *arguments)
    assert (refused.exit_code, refused.document["error"]["field"]) == (2, field)
