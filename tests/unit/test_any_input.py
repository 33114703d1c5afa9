"""Any input is accepted, or refused by an error of ours that can be printed. The input is generated."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy.engine import make_url

from domain.catalogue import CUSTOMER_COLUMNS, PRODUCT_COLUMNS, customer_of_row, product_of_row
from domain.errors import InvalidInput
from domain.order_documents import parse_order
from domain.text import check_text, printable
from shardwise.files.csv_file import read_csv
from stack.settings import Settings

MESSAGE_CHARS_MAX = 2000
CELLS = st.one_of(
    st.sampled_from(["a", "USD", "JPY", "1.00", "-1", "1e3", '"', '""', "\r", "\n", "\x00", "\u202e", "merchant.USD"]),
    st.text(max_size=8),
)
RECORDS = st.lists(st.lists(CELLS, max_size=7), max_size=6)
KEYS = st.sampled_from(
    ["order_id", "customer_id", "currency", "lines", "sku", "quantity", "unit_price", "ship_to", "\x1b"]
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), CELLS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=6)),
)
NO_DEADLINE = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def refusal(work: Callable[[], object]) -> str:
    """The message that is printed; empty if nothing is wrong."""
    try:
        work()
    except InvalidInput as fault:
        return fault.message
    return ""


@NO_DEADLINE
@given(records=RECORDS, encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]))
@example(records=[["a", "A", "", "USD", "1.00"], ["a", "B", "", "USD", "1.00"]], encoding="utf-8")
def test_any_csv_file(tmp_path: Path, records: list[list[str]], encoding: str) -> None:
    for columns, read in ((CUSTOMER_COLUMNS, customers), (PRODUCT_COLUMNS, products)):
        text = "\n".join(",".join(cells) for cells in [list(columns), *records])
        file = tmp_path / "any.csv"
        file.write_bytes(text.encode(encoding, errors="replace"))
        message = refusal(lambda read=read, file=file: read(file))  # type: ignore[misc]
        assert len(message) <= MESSAGE_CHARS_MAX
        assert printable(message) == message


def customers(file: Path) -> None:
    read = read_csv(file, CUSTOMER_COLUMNS, customer_of_row, lambda row: row.customer_id)
    assert len({row.customer_id for row in read}) == len(read)


def products(file: Path) -> None:
    read = read_csv(file, PRODUCT_COLUMNS, product_of_row, lambda row: row.sku)
    assert len({row.sku for row in read}) == len(read)


@NO_DEADLINE
@given(document=VALUES)
def test_any_document_as_an_order(document: object) -> None:
    message = refusal(lambda: parse_order(json.dumps(document)))
    assert len(message) <= MESSAGE_CHARS_MAX
    assert printable(message) == message


@given(st.text())
def test_shown_text_can_be_written_to_a_terminal(text: str) -> None:
    shown = printable(text)
    assert check_text(shown.replace("\n", "")) == shown.replace("\n", "")
    with contextlib.suppress(ValueError):
        assert printable(check_text(text)) == text


@NO_DEADLINE
@given(st.one_of(st.text(), st.text(max_size=20).map("postgresql://{}".format)))
@example("postgresql://u:p@h:5432/d?ssl=require")
def test_any_address_of_a_database(dsn: str) -> None:
    with contextlib.suppress(ValidationError):
        dsn_read = Settings.model_validate({"catalog_dsn": dsn}).catalog_dsn
        assert dsn_read is not None
        url = make_url(dsn_read.get_secret_value())
        assert url.host
        assert url.database
