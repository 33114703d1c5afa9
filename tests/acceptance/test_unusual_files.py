"""Files of customers and orders that are unusual, broken off or partly bad: their good lines are carried out.

Run inside this process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.main import run
from tests.support.command import Shardwise
from tests.unit.test_bad_input import BAD_LINES

HEADER = "customer_id,name,email,currency,opening_balance"


def _refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capfd.readouterr()
    code = run([arguments[0], "--json", *arguments[1:]])  # first: behind `--` it would be a value
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    assert code == 2, (arguments, code, out, err)
    error: dict[str, Any] = json.loads(out)["error"]
    return error


def _order(**changes: Any) -> str:
    order = {"order_id": "B-1", "customer_id": "rich", "currency": "USD", "lines": [{"sku": "APPLE", "quantity": 1}]}
    return json.dumps(order | changes)


ROW = "enc-%s,Name,,USD,1.00"


@pytest.fixture(autouse=True)
def _led(shardwise: Shardwise) -> Iterator[None]:
    with shardwise.led():
        yield


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom", ("\ufeff" + HEADER + "\n" + ROW % "bom" + "\n").encode()),
        ("crlf", (HEADER + "\r\n" + ROW % "crlf" + "\r\n\r\n").encode()),
        ("cr", (HEADER + "\r" + ROW % "cr").encode()),
        ("order", b"opening_balance,currency,email,name,customer_id\n1.00,USD,,Name,enc-order\n"),
        ("twice", (HEADER + ("\n" + ROW % "twice") * 2).encode()),
    ],
)
def test_the_same_file_written_in_other_ways(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, name: str, content: bytes
) -> None:
    file = tmp_path / "customers.csv"
    file.write_bytes(content)
    assert run(["import", "customers", str(file), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["total"] == 1
    assert run(["account", "show", f"enc-{name}", "--json"]) == 0


def test_orders_read_before_a_file_broke_off_are_placed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    master, slave = os.openpty()
    os.write(slave, (_order(order_id="B-before") + "\n").encode())
    os.close(slave)  # Then reading goes on to the end of what was written, and to an error.
    with open(master, encoding="utf-8") as broken:
        monkeypatch.setattr(sys, "stdin", broken)
        assert "cannot read on: Input/output error" in _refused(capfd, "import", "orders", "-")["message"]
    assert run(["order", "show", "B-before", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["status"] == "confirmed"


def test_a_file_that_shrank_ends_in_a_bad_line(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text(_order(order_id="B-whole") + "\n" + _order(order_id="B-half")[:-9])
    assert run(["import", "orders", str(file), "--json"]) == 2
    out, err = capfd.readouterr()
    assert (json.loads(out)["confirmed"], json.loads(out)["invalid"]) == (1, 1)
    assert "line 2: expected JSON, got " in err
    assert "at line 1" not in err


def test_the_same_sku_twice_is_merged_and_a_pipe_is_a_file(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    line = _order(order_id="B-merged", lines=[{"sku": "APPLE", "quantity": 1}, {"sku": "APPLE", "quantity": 2}])
    writer = threading.Thread(target=pipe.write_text, args=(line + "\n",))
    writer.start()
    assert run(["import", "orders", str(pipe), "--json"]) == 0
    writer.join()
    capfd.readouterr()
    assert run(["order", "show", "B-merged", "--json"]) == 0
    shown = json.loads(capfd.readouterr().out)["lines"]
    assert [(each["sku"], each["quantity"]) for each in shown] == [("APPLE", 3)]


def test_a_file_that_holds_no_orders_is_reported(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing", Path("x" * 5000), Path("\ud800"), Path("/proc/self/mem")):
        assert _refused(capfd, "import", "orders", str(path))["field"] == "file"
    assert "bytes" in _refused(capfd, "import", "orders", "/dev/zero")["message"]
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)) * 64)
    for path in (binary, Path("/dev/null")):
        code = run(["import", "orders", str(path), "--json"])
        counts = json.loads(capfd.readouterr().out)
        assert counts["total"] == counts["invalid"]
        assert code == (2 if counts["total"] else 0)


def test_bad_lines_are_reported_and_never_started(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    good = _order(order_id="B-among-bad")
    file.write_text("\ufeff\r\n" + "\r\n".join([*(line for line, _ in BAD_LINES), good]), newline="")
    assert run(["import", "orders", str(file), "--json"]) == 2
    out, err = capfd.readouterr()
    counts = json.loads(out)
    assert (counts["invalid"], counts["confirmed"], counts["total"]) == (len(BAD_LINES), 1, len(BAD_LINES) + 1)
    assert "Traceback" not in err
    assert "line 2: order_id" in err
    assert "more invalid lines" in err
    assert run(["order", "show", "B-1", "--json"]) == 1


def test_bad_input_that_only_a_lookup_can_find_changes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """The currency of a price or an amount, where none is given, is the customer's."""
    assert _refused(capfd, "order", "place", "--customer", "rich", "--line", "APPLE:1@1.001")["field"] == "line"
    assert _refused(capfd, "transfer", "--", "rich", "poor", "1.001")["field"] == "amount"


def test_without_standard_input_there_is_nothing_to_read() -> None:
    command = f"exec {sys.executable} -P -m cli import orders - --json <&-"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, json.loads(done.stdout)["error"]["field"]) == (2, "file")
