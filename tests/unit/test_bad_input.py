"""Bad input gets one message that names the field and what was expected, exit code 2, and changes nothing.

Every address leads to nowhere: a command that reached for a server would end with exit code 3.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.main import run
from domain.errors import InvalidInput
from domain.order_documents import parse_order
from shardwise.files.order_file import open_orders, read_batches
from tests.support.nowhere import lead_nowhere

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
BAD_NAMES = ["", " ", "\u3000", "x" * 201, "a\x07b", "\x1b]0;x\x07", "a\u202eb", "a\u2066b", "a\u2028b", "a\x85b"]
CURRENCIES = ["usd", "US", "USDD", "XXX", "XAU", "ABC", "", "U\x00D"]
ORDERS = str(Path(__file__).parent.parent / "data" / "orders.jsonl")
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
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    lead_nowhere(monkeypatch)


def test_good_input_goes_on_to_the_servers(capfd: pytest.CaptureFixture[str]) -> None:
    for command in (["order", "show", "a"], ["account", "show", "a"], ["stock", "receive", "APPLE", "1"]):
        assert run([*command, "--json"]) == 3, capfd.readouterr()


@pytest.mark.parametrize("bad", IDS)
def test_ids_are_checked_everywhere(capfd: pytest.CaptureFixture[str], bad: str) -> None:
    assert "order_id" in str(_error(capfd, "order", "show", bad)["field"])
    assert "order_id" in str(_error(capfd, "order", "trace", bad)["field"])
    assert "order_id" in str(_error(capfd, "order", "cancel", bad)["field"])
    assert "order_id" in str(_error(capfd, "order", "retry", bad)["field"])
    for command in ("show", "freeze", "unfreeze", "close", "statement"):
        assert _error(capfd, "account", command, bad)["field"] == "account_id"
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
    place = ("order", "place", "--currency", "USD", "--customer", "rich", "--line")
    assert "line" in str(_error(capfd, *place, f"APPLE:1@{bad}")["field"])


@pytest.mark.parametrize("bad", CURRENCIES)
def test_currencies_are_iso_4217(capfd: pytest.CaptureFixture[str], bad: str) -> None:
    place = ("order", "place", "--customer", "rich", "--line", "APPLE:1", "--currency")
    assert _error(capfd, *place, bad)["field"] == "currency"


@pytest.mark.parametrize(
    ("option", "field"),
    [
        *((("--account", bad), "account_id") for bad in [*IDS, "merchant.USD", "merchant.x"]),
        *((("--currency", bad), "currency") for bad in CURRENCIES),
        *((("--balance", bad), "balance") for bad in AMOUNTS),
        *((("--overdraft", bad), "overdraft") for bad in AMOUNTS),
        *((("--name", bad), "name") for bad in [*BAD_NAMES, "\ud800"]),
        *((("--email", bad), "email") for bad in [*BAD_NAMES, "\ud800"]),
        (("--currency", "JPY", "--balance", "5.01"), "balance"),
        (("--currency", "JPY", "--overdraft", "5.01"), "overdraft"),
        (("--surprise", "1"), None),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_an_account_is_opened_with_valid_values_or_not_at_all(
    capfd: pytest.CaptureFixture[str], option: tuple[str, ...], field: str | None
) -> None:
    account_id, options = (option[1], ()) if option[0] == "--account" else ("acc-bad", option)
    error = _error(capfd, "account", "open", "--currency", "USD", *options, "--", account_id)
    assert field is None or error["field"] == field


@pytest.mark.parametrize(
    ("options", "words", "field"),
    [
        *(((), (bad, "poor", "1.00"), "source") for bad in IDS),
        *(((), ("rich", bad, "1.00"), "target") for bad in IDS),
        *((("--id", bad), ("rich", "poor", "1.00"), "id") for bad in IDS),
        *((("--currency", "USD"), ("rich", "poor", bad), "amount") for bad in [*AMOUNTS, "0", "0.00"]),
        *((("--currency", bad), ("rich", "poor", "1.00"), "currency") for bad in CURRENCIES),
        *((("--reference", bad), ("rich", "poor", "1.00"), "reference") for bad in ["x" * 201, "a\x07b", "a\u202eb"]),
        *((("--protocol", bad), ("rich", "poor", "1.00"), "protocol") for bad in ["", "SAGA", "bulk", "3pc"]),
        *((("--wait", bad), ("rich", "poor", "1.00"), "wait") for bad in ["-1", "soon", ""]),
        ((), ("rich", "rich", "1.00"), "target"),
        (("--currency", "JPY"), ("rich", "poor", "5.01"), "amount"),
        ((), ("rich", "poor"), "amount"),
        ((), ("rich", "poor", "1.00", "2.00"), None),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_transfer_is_sent_with_valid_values_or_not_at_all(
    capfd: pytest.CaptureFixture[str], options: tuple[str, ...], words: tuple[str, ...], field: str | None
) -> None:
    error = _error(capfd, "transfer", *options, "--", *words)
    assert field is None or error["field"] in (field, f"transfer_{field}")


@pytest.mark.parametrize("bad", IDS)
def test_a_transfer_is_shown_by_ids(capfd: pytest.CaptureFixture[str], bad: str) -> None:
    assert _error(capfd, "transfer", "show", bad, "T1")["field"] == "source"
    assert _error(capfd, "transfer", "show", "rich", bad)["field"] == "transfer_id"


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
        *(("customers", _customer(name=bad), "name") for bad in BAD_NAMES),
        *(("customers", _customer(email=bad), "email") for bad in ["x" * 201, " ", "a\u202eb"]),
        *(("products", _product(sku=bad), "sku") for bad in _clean(IDS)),
        *(("products", _product(name=bad), "name") for bad in BAD_NAMES),
        *(("products", _product(currency="JPY", unit_price=bad), "unit_price") for bad in ["5.01", "5.", ".5"]),
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
    assert error["message"].startswith("line 3: ")
    assert error["message"].endswith("\nnothing was imported")
    assert field is None or error["field"] in (field, "file")  # a NUL is a fault of the file


@pytest.mark.parametrize(
    ("content", "beginning"),
    [
        (f"{HEADER['customers']}\nnew,New,,USD,1\n".encode("utf-16"), "line 1: expected UTF-8"),
        (f"{HEADER['customers']}\nnew,New,,USD,1\n".encode("utf-16-le"), "line 1: expected UTF-8"),
        (HEADER["customers"].encode() + b"\nnew,\xe4,,USD,1\n", "line 2: expected UTF-8 text, got the byte 0xe4"),
        (HEADER["customers"].encode() + b'\nnew,"New,,USD,1\nolder,Old,,USD,1\n', "line 2: not CSV"),
        (HEADER["customers"].encode() + b'\nnew,"New"er,,USD,1\n', "line 2: not CSV"),
        (HEADER["customers"].encode() + b"\nnew," + b"x" * 10_000_000 + b",,USD,1\n", "line 2: not CSV"),
        (HEADER["customers"].encode() + b"\nnew,New,,USD,1\n\nnew,Newer,,USD,1\n", "line 4: customer_id: 'new' is in"),
        (HEADER["customers"].upper().encode() + b"\n", "line 1: expected the columns"),
        (HEADER["customers"].replace("email", "name").encode() + b"\n", "line 1: expected the columns"),
        (HEADER["customers"].replace(",", ";").encode() + b"\n", "line 1: expected the columns"),
        (HEADER["customers"].encode() + b",more\n", "line 1: expected the columns"),
        (b"x," * 5000 + b"\n", "line 1: expected the columns"),
        (b"x" * 10_000_000, "line 1: not CSV"),
        (b"\xef\xbb\xbf", "file is empty"),
        (b"\n\r\n\n", "file is empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_file_that_is_no_such_csv_is_reported_with_the_line(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, beginning: str
) -> None:
    file = tmp_path / "customers.csv"
    file.write_bytes(content)
    message = _error(capfd, "import", "customers", str(file))["message"]
    assert message.startswith(beginning)
    assert message.endswith("\nnothing was imported")


@contextlib.contextmanager
def _ordinary_user() -> Iterator[None]:
    """Root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("kind", ["customers", "products"])
def test_a_file_that_cannot_be_read(capfd: pytest.CaptureFixture[str], tmp_path: Path, kind: str) -> None:
    locked = tmp_path / "locked"
    locked.touch(mode=0)
    with _ordinary_user():
        assert "ermission" in str(_error(capfd, "import", kind, str(locked))) or os.geteuid() != 0
    # The kernel lets a process open its own memory and refuses to read from address zero.
    assert "cannot read" in _error(capfd, "import", kind, "/proc/self/mem")["message"]
    assert "bytes" in _error(capfd, "import", kind, "/dev/zero")["message"]


@pytest.mark.parametrize("name", ["", "file", "file/below", "x" * 5000, "\ud800", "a\x00b"])
@pytest.mark.parametrize(
    "command", [["up", "--detach"], ["down"], ["status"], ["verify"], ["order", "list"]], ids=" ".join
)
def test_a_data_directory_that_is_no_directory(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: list[str],
    name: str,
) -> None:
    monkeypatch.delenv("SHARDWISE_SHARDS")
    (tmp_path / "file").touch()
    chosen = str(tmp_path / name) if name.startswith("file") else name
    if name == "file/below" and command[0] != "up":  # Nothing is there, as in any folder without a stack.
        assert run([*command, "--data-dir", chosen, "--json"]) in (0, 3)
        return
    assert _error(capfd, *command, "--data-dir", chosen)["field"] == "data_dir"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "option",
    [
        *(("order", "place", "--customer", "rich", "--line", "APPLE:1", "--wait", bad) for bad in ["nan", "-1", ""]),
        *(("order", "list", "--limit", bad) for bad in ["0", "-1", "10001", "1e3", "9" * 30, ""]),
        *(("account", "statement", "rich", "--limit", bad) for bad in ["0", "-1", "10001", "1e3", "9" * 30, ""]),
        *(("order", "list", "--status", bad) for bad in ["", "Confirmed", "\x1b[31m"]),
        *(("import", "orders", ORDERS, "--concurrency", bad) for bad in ["0", "-1", "1e9", "1001", "nan", ""]),
        *(("import", "orders", ORDERS, "--stuck-after", bad) for bad in ["nan", "-1", "0", ""]),
        *(("up", "--shards", bad) for bad in ["0", "65", "1e1", ""]),
        *(("up", "--workers", bad) for bad in ["-1", "65", "nan"]),
        *(("worker", "--queue", bad) for bad in ["", "nope", "a\u202eb"]),
        ("order", "place", "--customer", "rich"),
        ("account", "open", "acc-bad"),
        ("account", "open", "--currency", "USD"),
        ("account", "close"),
        ("account", "freeze", "a", "b"),
        ("order", "show"),
        ("order", "show", "a", "b"),
        ("verify", "more"),
        ("nope",),
        ("\ud800",),
    ],
    ids=lambda option: ascii(" ".join(option)),
)  # fmt: skip
def test_options_are_checked_before_anything_is_done(
    capfd: pytest.CaptureFixture[str], option: tuple[str, ...]
) -> None:
    _error(capfd, *option)


@pytest.mark.parametrize("kind", ["customers", "products"])
def test_a_file_that_cannot_be_read_is_reported(capfd: pytest.CaptureFixture[str], tmp_path: Path, kind: str) -> None:
    binary, empty, nul = tmp_path / "binary", tmp_path / "empty", tmp_path / "nul"
    binary.write_bytes(bytes(range(256)) * 64)
    empty.touch()
    nul.write_bytes(b"a,b\x00c\n")
    for path in (tmp_path, tmp_path / "missing", binary, nul, Path("x" * 1000), Path("\ud800")):
        _error(capfd, "import", kind, str(path))
    assert "columns" in _error(capfd, "import", kind, str(empty))["message"]


def _order(**changes: Any) -> str:
    order = {"order_id": "B-1", "customer_id": "rich", "currency": "USD", "lines": [{"sku": "APPLE", "quantity": 1}]}
    return json.dumps(order | changes)


BAD_LINES = [
    *((_order(order_id=bad), "order_id") for bad in [*IDS, 5, None, True, [], {}]),
    *((_order(customer_id=bad), "customer_id") for bad in [*IDS, 5, None]),
    *((_order(currency=bad), "currency") for bad in [*CURRENCIES, 5, None]),
    *((_order(lines=[{"sku": "APPLE", "quantity": bad}]), "quantity") for bad in [0, -1, 1.5, True, "1", None, 10**9]),
    *((_order(lines=[{"sku": "APPLE", "quantity": 1, "unit_price": bad}]), "unit_price") for bad in [*AMOUNTS, 1.5, 1]),
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
]


@pytest.mark.parametrize(
    ("line", "field"), BAD_LINES, ids=lambda value: str(value)[:30].encode("ascii", "backslashreplace").decode()
)
async def test_a_bad_line_of_orders_is_named(tmp_path: Path, line: str, field: str) -> None:
    """As `import orders` reads it, which looks first whether it can find out what is done already."""
    file = tmp_path / "orders.jsonl"
    file.write_text(f"\ufeff\r\n{line}\r\n", newline="")
    with open_orders(file) as source:
        [found] = [each async for batch in read_batches(source) for each in batch]
    assert found.number == 2
    with pytest.raises(InvalidInput) as refused:
        parse_order(found.text)
    assert field in refused.value.message or "expected JSON" in refused.value.message
    assert len(refused.value.message) < 500


NO_TOKENS = ["", " ", "x", "abc=", "b3JkZXJz", "\x00", "\ud800", "x" * 5000, "../..", "'; DROP TABLE orders; --"]
NO_DAYS = ["", "yesterday", "2026-02-30", "2026-1-1", "01.02.2026", "\x1b[31m", "\ud800", "2026-01-01; --", "9" * 5000]
NO_IDS = ["", "a b", "a/b", "x" * 101, "\x00", "\ud800"]
PAGED = (("order", "list"), ("account", "statement", "ada"), ("stock", "list"), ("report", "balances"))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        *((("order", "list", "--customer", bad), "customer") for bad in NO_IDS),
        *((("order", "list", f"--{name}", bad), name) for name in ("since", "until", "day") for bad in NO_DAYS),
        (("order", "list", "--day", "2026-03-01T12:00:00Z"), "day"),
        (("order", "list", "--since", "2026-03-02", "--until", "2026-03-01"), "until"),
        (("order", "list", "--since", "2026-03-01T12:00:00Z", "--until", "2026-03-01T12:00:00Z"), "until"),
        *(((*command, "--after", bad), "after") for command in PAGED for bad in NO_TOKENS),
        *(((*command, "--limit", bad), "limit") for command in PAGED for bad in ("0", "10001")),
        *((("order", "details", bad), "order_id") for bad in NO_IDS),
        *((("account", "statement", bad), "account_id") for bad in NO_IDS),
        *((("report", "sales", f"--{name}", bad), name) for name in ("from", "to") for bad in NO_DAYS),
        (("report", "sales", "--from", "2026-03-02", "--to", "2026-03-01"), "to"),
        *((("report", "sales", "--sku", bad), "sku") for bad in NO_IDS),
        *(
            (("report", "balances", "--shard-timeout", bad), "shard_timeout")
            for bad in ("", "0", "-1", "nan", "1e30", "x")
        ),
        *((("report", "sales", "--by", bad), "by") for bad in ("", "week", "Product")),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_a_query_with_bad_options_is_refused(
    capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], field: str
) -> None:
    assert _error(capfd, *arguments)["field"] == field


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        *((("customer", "rename", "rich", "--name", bad), "name") for bad in [*BAD_NAMES, "\ud800"]),
        *((("customer", "rename", "rich", "--name", "R", "--email", bad), "email") for bad in [*BAD_NAMES, "\ud800"]),
        *((("product", "rename", "APPLE", "--name", bad), "name") for bad in [*BAD_NAMES, "\ud800"]),
        *((("customer", "rename", bad, "--name", "R"), "customer_id") for bad in IDS),
        *((("product", "rename", bad, "--name", "R"), "sku") for bad in IDS),
        (("customer", "rename", "rich"), "name"),
        (("product", "rename", "APPLE"), "name"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_a_rename_with_a_bad_id_or_name_is_refused(
    capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], field: str
) -> None:
    assert _error(capfd, *arguments)["field"] == field


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        *((("profile", "show", bad), "customer_id") for bad in IDS),
        *((("profile", "set", bad, "--name", "R"), "customer_id") for bad in IDS),
        *(
            (("profile", "set", "rich", f"--{name.replace('_', '-')}", bad), name)
            for name in ("name", "email", "address", "city", "postal_code", "country")
            for bad in [*BAD_NAMES, "\ud800"]
        ),
        *((("profile", "set", "rich", "--set", bad), "set") for bad in ("", "theme", "a b")),
        *((("profile", "set", "rich", "--set", bad), "settings") for bad in ("=x", "a b=x", "a/b=x", f"{'x' * 65}=x")),
        *((("profile", "set", "rich", "--set", f"a={bad}"), "settings") for bad in ("x" * 501, "a\nb", "\ud800")),
        (("profile", "set", "rich", "--set", "a=1", "--set", "a=2"), "set"),
        (("profile", "set", "rich", "--set", "a=1", "--unset", "a"), "unset"),
        (("profile", "set", "rich", "--unset", "a", "--unset", "a"), "unset"),
        *((("profile", "set", "rich", "--unset", bad), "settings") for bad in ("", "a b")),
        *((("profile", "set", "rich", "--clear", bad), "clear") for bad in ("", "name", "settings")),
        (("profile", "set", "rich", "--clear", "city", "--city", "London"), "clear"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_a_bad_profile_is_refused(capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], field: str) -> None:
    assert _error(capfd, *arguments)["field"] == field


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    arguments=st.lists(st.text(max_size=20), max_size=5),
    topic=st.sampled_from(["order", "account", "stock", "import", "transfer"]),
)
def test_no_arguments_make_it_crash(capfd: pytest.CaptureFixture[str], topic: str, arguments: list[str]) -> None:
    capfd.readouterr()
    code = run([topic, *arguments, "--json"])
    out, err = capfd.readouterr()
    assert "Traceback" not in err
    assert code in (0, 2, 3)
    if "--help" not in arguments:
        assert json.loads(out)["error"]["code"] != "internal"
