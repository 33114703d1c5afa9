"""What the demo shows at its end, how long its stack stays up, and that it says so while it installs the servers."""

from __future__ import annotations

import asyncio
import itertools
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from cli.demo.report import DemoReport, StackStays
from cli.terminal.hints import command_as_typed
from cli.terminal.keypress import is_interactive, wait_for_key
from cli.terminal.output import Output
from shards.audit.audit import Audit
from shards.audit.findings import Check, Violation
from shards.audit.report import report_of
from shardwise.demo.orders import DemoOrder, demo_orders
from shardwise.demo.run import DemoRun, FinishedOrder
from shardwise.orders.documents import OrderDocument
from tests.support.terminal import drawn
from workflows.orders.saga import CANCELLED

UI = "http://127.0.0.1:8233/namespaces/default/workflows/order%2Fdemo-cancelled/0197-run/history"
FOLDER = Path("/tmp/shardwise-demo-x")


def audited() -> Audit:
    audit = Audit(cast(Any, None), cast(Any, None), lambda *_: None)
    audit.findings.add_checked(Check.LEDGER, 40)
    audit.findings.add_checked(Check.ORPHANS, 28)
    return audit


def shown(audit: Audit, played: Sequence[FinishedOrder] = ()) -> DemoReport:
    return DemoReport(DemoRun(list(played), report_of(audit), UI), stays=False, seconds=12.0)


@pytest.mark.parametrize(
    ("stays", "ui", "line"),
    [
        (StackStays.NOT, None, "the stack is stopped now; `make demo DEMO_ARGS=--keep` leaves it up"),
        (StackStays.UNTIL_A_KEY, UI, "the stack stays up until you press a key"),
        (StackStays.KEPT, UI, f"stop it with: {command_as_typed()} down --data-dir {FOLDER}; then remove the folder"),
    ],
)
def test_a_link_is_shown_only_if_something_serves_it(stays: StackStays, ui: str | None, line: str) -> None:
    page = DemoReport(DemoRun([], report_of(audited()), UI), ui is not None, 12.0)
    lines = drawn(page.page(stays, FOLDER), 1000)
    assert line in lines[-1]
    assert any(UI in line for line in lines) == (ui is not None)
    assert ("http" in "".join(lines)) == (ui is not None)
    assert page.document()["ui"] == ui


def test_no_number_looks_like_a_count_of_damage() -> None:
    audit = audited()
    text = "\n".join(drawn(shown(audit).page(StackStays.NOT, FOLDER), 100))
    assert "verify ok: 0 violations in 68 rows (ledger 0 of 40, orphans 0 of 28)" in text
    audit.findings.add_violations(Check.ORPHANS, [Violation("one", None, {})])
    text = "\n".join(drawn(shown(audit).page(StackStays.NOT, FOLDER), 100))
    assert "verify FOUND DAMAGE: 1 violations in 68 rows (ledger 0 of 40, orphans 1 of 28)" in text


def finished(scene: DemoOrder, detail: str | None) -> FinishedOrder:
    order = OrderDocument(
        order_id=scene.order.order_id,
        status=scene.expected,
        reason=scene.reason,
        detail=detail,
        customer_shard="shard-1",
        workflow_id=f"order/{scene.order.order_id}",
    )
    return FinishedOrder(scene, order, 4.2)


@pytest.mark.parametrize("width", [80, 100])
def test_each_order_takes_a_few_lines_at_a_usual_terminal(width: int) -> None:
    details = [
        None,
        "GRINDER: 4 wanted, 3 available",
        "39.00 USD wanted, 12.00 USD available on account niklaus",
        CANCELLED.detail,
        None,
    ]
    orders = [finished(scene, detail) for scene, detail in zip(demo_orders(), details, strict=True)]
    lines = drawn(shown(audited(), orders).page(StackStays.NOT, FOLDER), width)
    starts = [next(n for n, line in enumerate(lines) if line.startswith(each.order.order_id)) for each in orders]
    end = next(n for n, line in enumerate(lines) if line.startswith("verify"))
    assert max(after - before for before, after in itertools.pairwise([*starts, end])) <= 4
    assert max(map(len, lines[:end])) <= width
    assert "cancelled before it was" in "\n".join(lines)
    assert "cancelled: cancelled" not in "\n".join(lines)


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other end of a terminal that is this process's stdin."""
    keys, inside = pty.openpty()
    with os.fdopen(inside) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield keys
    os.close(keys)


async def waiting() -> asyncio.Task[None]:
    """One that waits for a key."""
    task = asyncio.create_task(wait_for_key())
    await asyncio.sleep(0.05)
    assert not task.done()
    return task


async def test_any_key_will_do_and_the_terminal_is_as_it_was(keyboard: int) -> None:
    before = termios.tcgetattr(sys.stdin)
    task = await waiting()
    assert termios.tcgetattr(sys.stdin) != before
    os.write(keyboard, b"x")
    await asyncio.wait_for(task, 5)
    assert termios.tcgetattr(sys.stdin) == before


async def test_ctrl_c_will_do_as_well(keyboard: int) -> None:
    task = await waiting()
    task.cancel()
    await asyncio.wait_for(task, 5)


def test_no_key_is_asked_for_if_the_output_is_a_file_or_a_document(keyboard: int) -> None:
    terminal, file = Output(), Output()
    terminal.stdout._force_terminal = True
    assert is_interactive(terminal)
    assert not is_interactive(Output(as_json=True, stdout=terminal.stdout))
    assert not is_interactive(file)


def test_installing_says_so_before_it_begins(tmp_path: Path) -> None:
    command = ["make", "--dry-run", "demo", f"VENV={tmp_path / 'venv'}"]
    planned = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout
    assert planned.index("installing Python packages into") < planned.index("-m venv") < planned.index("shardwise demo")
