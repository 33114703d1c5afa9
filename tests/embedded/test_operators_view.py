"""What an operator sees: the path of one order, and the installation at a glance, also while a part of it is away."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.command import Shardwise

SECONDS_MAX = 60
LEFT_THE_SCREEN = "\x1b[?1049l"
ORDER = ("order", "place", "--customer", "rich")


def trace(shardwise: Shardwise, order_id: str) -> dict[str, Any]:
    answer = shardwise.inside("order", "trace", order_id)
    assert answer.exit_code == 0, answer.stdout
    return answer.document


def results(traced: dict[str, Any], *phases: str) -> dict[str, str]:
    return {step["name"]: step["result"] for step in traced["steps"] if step["phase"] in phases}


def test_a_confirmed_order_is_traced_from_history_and_rows(shardwise: Shardwise) -> None:
    assert shardwise.inside(*ORDER, "--line", "APPLE:1", "--line", "WATCH:1", "--id", "trace-ok").exit_code == 0
    traced = trace(shardwise, "trace-ok")
    assert (traced["status"], traced["decision"]["outcome"]) == ("confirmed", "confirmed")
    assert set(traced["sources"]["shards"].values()) | {traced["sources"]["temporal"]} == {"answered"}
    assert [run["status"] for run in traced["runs"]] == ["completed"]
    assert results(traced, "completion") == {"consume_stock": "done", "credit_merchant": "done"}
    assert results(traced, "compensation") == {}
    assert [step["started_at"] for step in traced["steps"]] == sorted(step["started_at"] for step in traced["steps"])
    # Every step that writes is proved by the row of its commit, on the shard where it ran.
    assert [step["name"] for step in traced["steps"] if step["row"] is None] == ["price_lines"]
    assert all(step["rounds"] for step in traced["steps"])


def test_a_refused_order_shows_where_and_why(shardwise: Shardwise) -> None:
    lines = ("--line", "CHAIR:900@0.01", "--line", "WATCH:1")
    assert shardwise.inside(*ORDER, *lines, "--id", "trace-refused").exit_code == 1
    traced = trace(shardwise, "trace-refused")
    [refused] = [step for step in traced["steps"] if step["result"] == "refused"]
    assert (refused["name"], refused["reason"], traced["reason"]) == ("reserve_stock", "out_of_stock", "out_of_stock")
    assert traced["decision"]["outcome"] == "aborting"
    assert results(traced, "forward")["open_order"] == "undone"
    assert results(traced, "compensation")["abort_order"] == "done"


def test_a_cancelled_order_shows_its_window_and_what_ended_it(shardwise: Shardwise) -> None:
    place = (*ORDER, "--line", "LAMP:1", "--id", "trace-cancelled", "--wait", "0")
    assert shardwise.inside(*place, cancellation_window_seconds="600").exit_code == 3
    deadline = time.monotonic() + SECONDS_MAX
    while results(trace(shardwise, "trace-cancelled"), "forward").get("timer") != "pending":
        assert time.monotonic() < deadline, "the order does not reach its cancellation window"
    assert trace(shardwise, "trace-cancelled")["decision"] is None
    hold = shardwise.inside("watch").document["oldest_hold"]
    assert (hold["order_id"], hold["account_id"], hold["amount"]) == ("trace-cancelled", "rich", "30.00")

    assert shardwise.inside("order", "cancel", "trace-cancelled").exit_code == 0
    traced = trace(shardwise, "trace-cancelled")
    assert results(traced, "forward") == {
        "claim_order_id": "done",
        "price_lines": "done",
        "open_order": "undone",
        "reserve_stock": "undone",
        "timer": "cancelled",
        "cancel": "done",
    }
    assert results(traced, "compensation") == {"release_stock": "done", "abort_order": "done"}


@pytest.mark.parametrize(("order_id", "exit_code", "code"), [("unheard-of", 1, "unknown_order"), ("a/b", 2, None)])
def test_trace_refuses_an_order_id_as_show_does(
    shardwise: Shardwise, order_id: str, exit_code: int, code: str | None
) -> None:
    traced, shown = shardwise.inside("order", "trace", order_id), shardwise.inside("order", "show", order_id)
    assert (traced.exit_code, traced.document) == (exit_code, shown.document)
    assert code in (None, traced.document["error"]["code"])


def test_watch_counts_what_was_placed(shardwise: Shardwise) -> None:
    before = shardwise.inside("watch").document
    # A worker that another test ran is listed for another minute, with its pid.
    assert {part["name"]: part["up"] for part in before["parts"] if "@" not in part["name"]} == dict.fromkeys(
        ["shard-1", "shard-2", "shard-3", "catalog", "read_model", "Temporal", "worker-1"], True
    )
    assert shardwise.inside(*ORDER, "--line", "APPLE:1").exit_code == 0
    after = shardwise.inside("watch").document
    assert after["orders"]["confirmed"] == before["orders"]["confirmed"] + 1
    assert (after["missing"], after["stuck"]) == ({}, [])
    assert after["rate"]["placed_per_second"] == 0


@pytest.fixture
def without_a_shard(shardwise: Shardwise) -> Iterator[str]:
    """A shard that holds part of `trace-away`, killed; it is back afterwards."""
    assert shardwise.inside(*ORDER, "--line", "APPLE:1", "--line", "WATCH:1", "--id", "trace-away").exit_code == 0
    shard = trace(shardwise, "trace-away")["decision"]["shard"]
    shardwise.kill_server(shard)
    try:
        yield shard
    finally:
        assert shardwise("up", "--detach").exit_code == 0


def test_with_a_shard_away_both_go_on_and_say_so(shardwise: Shardwise, without_a_shard: str) -> None:
    watched = shardwise.inside("watch")
    assert watched.exit_code == 3
    parts = {part["name"]: part for part in watched.document["parts"]}
    assert [name for name, part in parts.items() if not part["up"]] == [without_a_shard]
    assert "does not answer" in parts[without_a_shard]["why"]
    assert list(watched.document["missing"]) == [without_a_shard]
    assert isinstance(watched.document["orders"]["confirmed"], int)

    traced = trace(shardwise, "trace-away")
    assert traced["sources"]["shards"][without_a_shard] == "away"
    assert (traced["status"], traced["decision"]["outcome"]) == ("confirmed", "confirmed")
    assert all(step["rounds"] for step in traced["steps"])


def test_an_order_that_waits_for_a_shard_shows_its_attempts_and_that_it_is_stuck(
    shardwise: Shardwise, without_a_shard: str
) -> None:
    place = (*ORDER, "--line", "APPLE:1", "--currency", "USD", "--id", "trace-waits", "--wait")
    assert shardwise.inside(*place, "0", stuck_after_seconds="1").document["status"] == "pending"
    deadline = time.monotonic() + SECONDS_MAX
    while not (stuck := shardwise.inside("watch", "--interval", "0.2").document["stuck"]):
        assert time.monotonic() < deadline, "the order does not get stuck"
    traced = trace(shardwise, "trace-waits")
    [waits] = [step for step in traced["steps"] if step["result"] == "pending"]
    assert [each["order_id"] for each in stuck] == ["trace-waits"]
    assert (traced["status"], stuck[0]["step"]) == ("stuck", waits["name"])
    assert [each["kind"] for each in waits["rounds"]] == ["local", "regular"]
    assert waits["rounds"][0]["attempts"] == 2
    assert waits["attempts"] > 2
    assert f"{without_a_shard} does not answer" in waits["failure"]
    assert waits["alarm"]["result"] == "fired"

    up = shardwise("up", "--detach")
    assert (up.exit_code, up.document["read_model"]["up"]) == (0, True)
    assert shardwise.inside(*place, "60").exit_code == 0
    [ended] = [step for step in trace(shardwise, "trace-waits")["steps"] if step["alarm"]]
    assert (ended["name"], ended["result"]) == (waits["name"], "done")
    assert ended["attempts"] >= waits["attempts"]


@pytest.mark.parametrize(("ended_by", "exit_code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_the_live_page_shows_the_parts_and_gives_the_terminal_back(
    shardwise: Shardwise, ended_by: signal.Signals, exit_code: int
) -> None:
    terminal, inside = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHARDWISE_")}
    environment = {**inherited, "SHARDWISE_DATA_DIR": str(shardwise.data_dir), "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-P", "-m", "cli", "watch", "--interval", "0.2"]
    with subprocess.Popen(command, env=environment, stdin=inside, stdout=inside, stderr=inside) as process:
        os.close(inside)
        try:
            shown = read_until(terminal, "over the last")
            process.send_signal(ended_by)
            shown += read_until(terminal, LEFT_THE_SCREEN)
            assert process.wait(SECONDS_MAX) == exit_code
        finally:
            process.kill()
            os.close(terminal)
    assert "● shard-2" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "Traceback" not in shown


def read_until(terminal: int, awaited: str) -> str:
    shown = ""
    deadline = time.monotonic() + SECONDS_MAX
    while awaited not in shown:
        ready, _, _ = select.select([terminal], [], [], max(deadline - time.monotonic(), 0))
        assert ready, f"{awaited!r} is not shown: {shown[-2000:]!r}"
        shown += os.read(terminal, 65536).decode(errors="replace")
    return shown
