"""Every method refuses an argument of the wrong type like any other bad input, before it asks a server for anything.

Nothing listens where the settings lead: a method that asked for anything would raise `Unreachable`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest

from domain.orders import Order, OrderLine
from shardwise import Shardwise
from shardwise.errors import InvalidInput
from tests.support.nowhere import lead_nowhere

NO_TEXT = (3, True, b"x", object(), [], {}, (1,))
NO_NUMBER = ("1", b"x", None, object(), [], float("nan"), -1)
NO_CHOICE = (*NO_TEXT, None, "neither")
NO_COLLECTION = (3, None, object(), "text", b"x", [3])
NO_FILE = (3, None, object(), [], b"x")

# Methods whose fault names another field: the report's own, which are the options' too, and each of several.
NAMED = {"first_day": "from", "last_day": "to"}

# By method: what it takes, and what is wrong in place of it.
GIVEN: Mapping[str, Mapping[str, tuple[Any, tuple[Any, ...]]]] = {
    "orders.place": {
        "customer": ("ada", (*NO_TEXT, None)),
        "lines": ([("TEAPOT", 1)], (*NO_COLLECTION, [("TEAPOT",)], [(3, 1)], [("TEAPOT", "1")], [["TEAPOT", 1]])),
        "order_id": ("A-1", NO_TEXT),
        "currency": ("USD", NO_TEXT),
        "style": ("orchestrated", NO_CHOICE),
        "wait": (0, NO_NUMBER),
    },
    "orders.place_order": {
        "order": (Order("A-1", "ada", "USD", (OrderLine("TEAPOT", 1),)), (*NO_TEXT, None)),
        "wait": (0, NO_NUMBER),
    },
    "orders.show": {"order_id": ("A-1", (*NO_TEXT, None))},
    "orders.cancel": {"order_id": ("A-1", (*NO_TEXT, None)), "wait": (0, NO_NUMBER)},
    "orders.retry": {"order_id": ("A-1", (*NO_TEXT, None)), "wait": (0, NO_NUMBER)},
    "orders.has_worker": {"style": ("orchestrated", NO_CHOICE)},
    "orders.import_file": {
        "file": (io.BytesIO(), NO_FILE),
        "on_invalid": (lambda number, message: None, ()),
        "style": ("orchestrated", NO_CHOICE),
        "concurrency": (1, NO_NUMBER),
        "stuck_after": (1.0, NO_NUMBER),
    },
    "transfers.move": {
        "source": ("ada", (*NO_TEXT, None)),
        "target": ("bob", (*NO_TEXT, None)),
        "amount": ("1.00", (*NO_TEXT, None, 1.5)),
        "protocol": ("saga", NO_CHOICE),
        "transfer_id": ("T-1", NO_TEXT),
        "currency": ("USD", NO_TEXT),
        "reference": ("rent", NO_TEXT),
        "wait": (0, NO_NUMBER),
    },
    "transfers.move_as": {"transfer": (None, (*NO_TEXT, None))},
    "transfers.show": {"source": ("ada", (*NO_TEXT, None)), "transfer_id": ("T-1", (*NO_TEXT, None))},
    "transfers.import_file": {
        "file": ("no.csv", NO_FILE),
        "say": (lambda line: None, ()),
        "stuck_after": (1.0, NO_NUMBER),
    },
    "accounts.open": {
        "account_id": ("ada", (*NO_TEXT, None)),
        "currency": ("USD", (*NO_TEXT, None)),
        "name": ("Ada", NO_TEXT),
        "email": ("ada@example.com", NO_TEXT),
        "balance": ("0", (*NO_TEXT, None)),
        "overdraft": ("0", (*NO_TEXT, None)),
    },
    **{
        f"accounts.{name}": {"account_id": ("ada", (*NO_TEXT, None))}
        for name in ("show", "freeze", "unfreeze", "close")
    },
    "catalogue.import_customers": {"customers": ([], NO_COLLECTION)},
    "catalogue.import_products": {"products": ([], NO_COLLECTION)},
    "catalogue.rename_customer": {
        "customer_id": ("ada", (*NO_TEXT, None)),
        "name": ("Ada", (*NO_TEXT, None)),
        "email": ("ada@example.com", NO_TEXT),
    },
    "profiles.show": {"customer_id": ("ada", (*NO_TEXT, None)), "consistency": ("eventual", (3, "newest"))},
    "profiles.set": {
        "customer_id": ("ada", (*NO_TEXT, None)),
        **dict.fromkeys(("name", "address", "city", "postal_code", "country"), ("Ada", NO_TEXT)),
        "email": ("ada@example.com", NO_TEXT),
        "settings": ({"theme": "dark"}, (3, object(), "text", [], {3: "x"}, {"a b": "x"}, {"theme": 3})),
        "clear": ((), (3, None, object(), "neither", [3], [None])),
    },
    "catalogue.rename_product": {"sku": ("TEAPOT", (*NO_TEXT, None)), "name": ("Teapot", (*NO_TEXT, None))},
    "catalogue.stock": {"sku": ("TEAPOT", (*NO_TEXT, None))},
    "catalogue.receive": {
        "sku": ("TEAPOT", (*NO_TEXT, None)),
        "quantity": (1, (*NO_NUMBER, 1.5)),
        "receipt_id": ("R-1", NO_TEXT),
    },
    "queries.orders": {
        "customer": ("ada", NO_TEXT),
        "status": (("pending",), (3, None, object(), "neither", [3], [None])),
        "since": ("2026-01-01", NO_TEXT),
        "until": ("2026-01-02", NO_TEXT),
        "limit": (5, NO_NUMBER),
        "after": (None, NO_TEXT),
    },
    "queries.order_details": {"order_id": ("A-1", (*NO_TEXT, None))},
    "queries.statement": {"account_id": ("ada", (*NO_TEXT, None)), "limit": (5, NO_NUMBER), "after": (None, NO_TEXT)},
    "queries.stock": {"limit": (5, NO_NUMBER), "after": (None, NO_TEXT)},
    "queries.sales": {
        "first_day": ("2026-01-01", NO_TEXT),
        "last_day": ("2026-01-02", NO_TEXT),
        "sku": ("TEAPOT", NO_TEXT),
        "by": ("product", NO_CHOICE),
    },
    "reports.balances": {
        "limit": (5, NO_NUMBER),
        "after": (None, NO_TEXT),
        "shard_timeout": (1.0, NO_NUMBER),
        "partial": (False, (1, "yes", None, [])),
    },
    "locks.acquire": {
        "name": ("report", (*NO_TEXT, None)),
        "holder": ("me", NO_TEXT),
        "mode": ("exclusive", NO_CHOICE),
        "seconds": (30, NO_NUMBER),
        "wait": (0, NO_NUMBER),
    },
    "locks.renew": {
        "name": ("report", (*NO_TEXT, None)),
        "holder": ("me", (*NO_TEXT, None)),
        "token": (1, (*NO_NUMBER, 1.5)),
        "seconds": (30, NO_NUMBER),
    },
    "locks.release": {
        "name": ("report", (*NO_TEXT, None)),
        "holder": ("me", (*NO_TEXT, None)),
        "token": (1, (*NO_NUMBER, 1.5)),
    },
    "locks.show": {"name": ("report", (*NO_TEXT, None))},
    "operations.trace": {"order_id": ("A-1", (*NO_TEXT, None))},
    "operations.rebuild": {"stuck_after": (1.0, NO_NUMBER)},
}


@pytest.mark.parametrize("method", GIVEN)
async def test_an_argument_of_the_wrong_type_is_invalid_input(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lead_nowhere(monkeypatch)
    arguments = GIVEN[method]
    rightly = {name: right for name, (right, _) in arguments.items()}
    async with await Shardwise.connect() as shop:
        service, _, name = method.partition(".")
        asked = getattr(getattr(shop, service), name)
        for argument, (_, wrong) in arguments.items():
            for value in wrong:
                with pytest.raises(InvalidInput) as refused:
                    await asked(**{**rightly, argument: value})
                named = refused.value.field or ""
                assert NAMED.get(argument, argument) in named, (argument, value, refused.value)
