"""Bad input gets one message that names the field and what was expected, exit code 2, and changes nothing.

Run inside this process: what is tried here are hundreds of commands.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.main import run
from tests.support.command import Shardwise

IDS = [
    "",
    " ",
    "a b",
    "a/b",
    "ä",
    "x" * 101,
    "x" * 5000,
    "a\x00b",
    "a\nb",
    "\x1b[31m",
    "'; DROP TABLE orders; --",
    "\ud800",
]
QUANTITIES = ["0", "-1", "1.5", "1e3", "NaN", "inf", "1000001", "9" * 5000, "", " 1", "\u0661", "true", "0x10", "1_000"]
AMOUNTS = [
    "-0.01",
    "1.001",
    "NaN",
    "Infinity",
    "1e5",
    "1,000.00",
    "",
    " 1.00",
    "10000000000000.01",
    "9" * 400,
    "$5",
    "\u0663",
]
CURRENCIES = ["usd", "US", "USDD", "XXX", "XAU", "ABC", "", "U\x00D"]
HEADER = {
    "customers": "customer_id,name,email,currency,opening_balance",
    "products": "sku,name,currency,unit_price,stock",
}


def _error(capfd: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """The error document of a command that must refuse its input."""
    capfd.readouterr()
    code = run([arguments[0], "--json", *arguments[1:]])  # first: behind `--` it would be a value
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    assert code == 2, (arguments, code, out[:500], err[:500])
    error: dict[str, Any] = json.loads(out)["error"]
    assert error["message"]
    assert len(error["message"]) < 2000
    return error


@pytest.fixture(autouse=True)
def data_dir(shardwise: Shardwise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARDWISE_DATA_DIR", str(shardwise.data_dir))


@pytest.mark.parametrize("bad", IDS)
def test_ids_are_checked_everywhere(capfd: pytest.CaptureFixture[str], bad: str) -> None:
    assert "order_id" in str(_error(capfd, "order", "show", bad)["field"])
    assert "order_id" in str(_error(capfd, "order", "trace", bad)["field"])
    assert "order_id" in str(_error(capfd, "order", "cancel", bad)["field"])
    assert "order_id" in str(_error(capfd, "order", "retry", bad)["field"])
    assert "account" in str(_error(capfd, "account", "show", bad)["field"])
    assert "sku" in str(_error(capfd, "stock", "show", bad)["field"])
    assert "sku" in str(_error(capfd, "stock", "receive", bad, "1")["field"])
    assert "id" in str(_error(capfd, "stock", "receive", "APPLE", "1", "--id", bad)["field"])
    assert "customer" in str(_error(capfd, "order", "place", "--customer", bad, "--line", "APPLE:1")["field"])
    assert "id" in str(_error(capfd, "order", "place", "--customer", "rich", "--line", "APPLE:1", "--id", bad)["field"])
    assert "line" in str(_error(capfd, "order", "place", "--customer", "rich", "--line", f"{bad}:1")["field"])


@pytest.mark.parametrize("bad", QUANTITIES)
def test_quantities_are_whole_and_bounded(capfd: pytest.CaptureFixture[str], bad: str) -> None:
    assert "quantity" in str(_error(capfd, "stock", "receive", "APPLE", "--", bad)["field"])
    assert "line" in str(_error(capfd, "order", "place", "--customer", "rich", "--line", f"APPLE:{bad}")["field"])


@pytest.mark.parametrize("bad", AMOUNTS)
def test_prices_are_decimal_strings_of_their_currency(capfd: pytest.CaptureFixture[str], bad: str) -> None:
    assert "line" in str(_error(capfd, "order", "place", "--customer", "rich", "--line", f"APPLE:1@{bad}")["field"])


@pytest.mark.parametrize("bad", CURRENCIES)
def test_currencies_are_iso_4217(capfd: pytest.CaptureFixture[str], bad: str) -> None:
    place = ("order", "place", "--customer", "rich", "--line", "APPLE:1", "--currency")
    assert _error(capfd, *place, bad)["field"] == "currency"


def _customer(**changes: str) -> str:
    row = {"customer_id": "new", "name": "New", "email": "", "currency": "USD", "opening_balance": "1.00"} | changes
    return ",".join(f'"{value}"' for value in row.values())


def _product(**changes: str) -> str:
    row = {"sku": "NEW", "name": "New", "currency": "USD", "unit_price": "1.00", "stock": "1"} | changes
    return ",".join(f'"{value}"' for value in row.values())


def _clean(values: list[str]) -> list[str]:
    """What can be written into a CSV cell of one line at all."""
    return [value for value in values if not set(value) & {"\ud800", "\n"}]


@pytest.mark.parametrize(
    ("kind", "row", "field"),
    [
        *(("customers", _customer(customer_id=bad), "customer_id") for bad in [*_clean(IDS), "merchant.USD"]),
        *(("customers", _customer(currency=bad), "currency") for bad in CURRENCIES),
        *(("customers", _customer(opening_balance=bad), "opening_balance") for bad in AMOUNTS),
        *(("customers", _customer(name=bad), "name") for bad in ["", "x" * 201, "a\x07b", "\x1b]0;x\x07"]),
        *(("products", _product(sku=bad), "sku") for bad in _clean(IDS)),
        *(("products", _product(unit_price=bad), "unit_price") for bad in AMOUNTS),
        *(("products", _product(stock=bad), "stock") for bad in [x for x in QUANTITIES if x != "0"]),
        ("customers", "only,three,fields", None),
        ("products", _product() + ",more", None),
    ],
)
def test_a_bad_row_of_a_csv_file_is_named_by_line_and_column(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, kind: str, row: str, field: str | None
) -> None:
    good = _customer() if kind == "customers" else _product()
    file = tmp_path / f"{kind}.csv"
    file.write_text(f"{HEADER[kind]}\n{good}\n{row}\n", newline="")
    error = _error(capfd, "import", kind, str(file))
    assert "line 3" in error["message"]
    assert field is None or error["field"] in (field, "file")  # a NUL is a fault of the file
    # All or nothing: the good row is not there either.
    assert run([*(("account", "show", "new") if kind == "customers" else ("stock", "show", "NEW")), "--json"]) == 1


@pytest.mark.parametrize("kind", ["customers", "products", "orders"])
def test_what_is_no_such_file_is_told(capfd: pytest.CaptureFixture[str], tmp_path: Path, kind: str) -> None:
    binary, empty, nul = tmp_path / "binary", tmp_path / "empty", tmp_path / "nul"
    binary.write_bytes(bytes(range(256)) * 64)
    empty.touch()
    nul.write_bytes(b"a,b\x00c\n")
    for path in (tmp_path, tmp_path / "missing", binary, nul, Path("x" * 5000), Path("\ud800")):
        capfd.readouterr()
        code = run(["import", kind, str(path), "--json"])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert code == 2, (kind, path, out)
        json.loads(out)
    if kind != "orders":  # a file without orders is an import of none; a CSV file has at least its header
        assert "columns" in _error(capfd, "import", kind, str(empty))["message"]


def _order(**changes: Any) -> str:
    order = {"order_id": "B-1", "customer_id": "rich", "currency": "USD", "lines": [{"sku": "APPLE", "quantity": 1}]}
    return json.dumps(order | changes)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        *((_order(order_id=bad), "order_id") for bad in [*IDS, 5, None, True, [], {}]),
        *((_order(customer_id=bad), "customer_id") for bad in [*IDS, 5, None]),
        *((_order(currency=bad), "currency") for bad in [*CURRENCIES, 5, None]),
        *(
            (_order(lines=[{"sku": "APPLE", "quantity": bad}]), "quantity")
            for bad in [0, -1, 1.5, True, "1", None, 10**9]
        ),
        *(
            (_order(lines=[{"sku": "APPLE", "quantity": 1, "unit_price": bad}]), "unit_price")
            for bad in [*AMOUNTS, 1.5, 1]
        ),
        *((_order(lines=bad), "lines") for bad in [[], None, {}, "x", [{"sku": "APPLE", "quantity": 1}] * 0]),
        *((_order(ordered_on=bad), "ordered_on") for bad in ["31.01.2026", "2026-02-30", 5, "yesterday"]),
        *((_order(ship_to={"name": bad}), "ship_to") for bad in ["a\x00", "\ud800", "x" * 201, 5]),
        (_order(surprise=1), "surprise"),
        (_order(lines=[{"sku": "APPLE", "quantity": 1, "colour": "red"}]), "colour"),
        ('{"order_id": "B-1"}', "customer_id"),
        ("NaN", ""),
        ('{"order_id": "B-1", "lines": NaN}', ""),
        ("[]", ""),
        ("not json", ""),
        ("x" * 10_000_000, ""),
        (_order(lines=[{"sku": f"S{n}", "quantity": 1} for n in range(1001)]), "lines"),
    ],
    ids=lambda value: str(value)[:30].encode("ascii", "backslashreplace").decode(),
)
def test_a_bad_line_of_orders_is_named_and_not_started(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, line: str, field: str
) -> None:
    file = tmp_path / "orders.jsonl"
    file.write_text(f"\ufeff\r\n{line}\r\n", newline="")
    code = run(["import", "orders", str(file), "--json"])
    out, err = capfd.readouterr()
    counts = json.loads(out)
    assert (code, counts["invalid"], counts["confirmed"]) == (2, 1, 0)
    assert "Traceback" not in err
    told = next(told for told in err.splitlines() if "line 2" in told)
    assert field in told or "invalid JSON" in told
    assert len(told) < 500
    assert run(["order", "show", "B-1", "--json"]) in (1, 2)


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


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    arguments=st.lists(st.text(max_size=20), max_size=5), topic=st.sampled_from(["order", "account", "stock", "import"])
)
def test_no_arguments_make_it_crash(capfd: pytest.CaptureFixture[str], topic: str, arguments: list[str]) -> None:
    capfd.readouterr()
    code = run([topic, *arguments, "--json"])
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    assert code in (0, 1, 2)
    if "--help" not in arguments:
        assert json.loads(out)["error"]["code"] != "internal"
