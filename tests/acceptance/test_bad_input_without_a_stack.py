"""Bad input is reported before any server is asked, so also if there is no stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Shardwise

BAD = {
    "account show": ("account_id", ("account", "show", "a b")),
    "account open": ("currency", ("account", "open", "ada", "--currency", "EURO")),
    "account statement": ("after", ("account", "statement", "ada", "--after", "no token")),
    "stock show": ("sku", ("stock", "show", "a b")),
    "stock list": ("after", ("stock", "list", "--after", "no token")),
    "stock receive": ("sku", ("stock", "receive", "a b", "0")),
    "customer rename": ("name", ("customer", "rename", "ada", "--name", " ")),
    "profile show": ("customer_id", ("profile", "show", "a b")),
    "profile set": ("settings", ("profile", "set", "ada", "--set", "a b=x")),
    "product rename": ("sku", ("product", "rename", "a b", "--name", "Tea")),
    "report sales": ("to", ("report", "sales", "--from", "2026-01-02", "--to", "2026-01-01")),
    "report balances": ("after", ("report", "balances", "--after", "no token")),
    "order place": ("id", ("order", "place", "--customer", "ada", "--line", "TEAPOT:1", "--id", "a b")),
    "order place, its currency": (
        "currency",
        ("order", "place", "--customer", "ada", "--line", "TEAPOT:1", "--currency", "EURO"),
    ),
    "order show": ("order_id", ("order", "show", "a b")),
    "order details": ("order_id", ("order", "details", "a b")),
    "order list": ("day", ("order", "list", "--day", "yesterday")),
    "transfer": ("amount", ("transfer", "ada", "alan", "-14.00")),
    "transfer show": ("transfer_id", ("transfer", "show", "ada", "a b")),
    "import transfers": ("file", ("import", "transfers", "none.csv")),
    "import customers": ("file", ("import", "customers", "none.csv")),
    "import orders": ("file", ("import", "orders", "none.jsonl")),
}


@pytest.mark.parametrize("command", BAD)
def test_bad_input_is_reported_and_not_that_there_is_no_stack(tmp_path: Path, command: str) -> None:
    field, arguments = BAD[command]
    answer = Shardwise(tmp_path / "none").inside(*arguments)
    assert (answer.exit_code, answer.document["error"]["field"]) == (2, field)
