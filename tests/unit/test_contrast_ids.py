"""Ids of `shardwise contrast` are left out of lists: no other saga gets one, by whatever way the id comes in."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload

from domain.catalogue import (
    Customer,
    Product,
    check_customer,
    check_product,
    customer_of_account,
    customer_of_row,
    product_of_row,
)
from domain.errors import InvalidInput
from domain.identifiers import CONTRAST_SUFFIX, contrast_id
from domain.money import Money
from domain.order_documents import parse_order
from domain.orders import Order, OrderLine, check_order
from shardwise import Shardwise
from tests.support.contract import starts
from tests.support.nowhere import lead_nowhere
from workflows.entrance.entrances import read_start

REFUSED = rf"ids that end with '{CONTRAST_SUFFIX}' are those of `shardwise contrast`"
RESERVED = contrast_id("mine")
CENT = Money(1, "USD")
MIXED: dict[str, tuple[str, str, list[str]]] = {
    "order_id": (RESERVED, "ada", ["TEA", "CUP"]),
    "customer_id": ("A-1", RESERVED, ["TEA", "CUP"]),
    "lines.1.sku": ("A-1", "ada", ["TEA", RESERVED]),
    "all but the customer": (RESERVED, "ada", [RESERVED]),
    "all but one product": (RESERVED, RESERVED, [RESERVED, "TEA"]),
}


def order(order_id: str, customer_id: str, skus: list[str]) -> Order:
    return Order(order_id, customer_id, "USD", tuple(OrderLine(sku, 1, CENT) for sku in skus))


def document(order_id: str, customer_id: str, skus: list[str]) -> dict[str, Any]:
    lines = [{"sku": sku, "quantity": 1} for sku in skus]
    return {"order_id": order_id, "customer_id": customer_id, "currency": "USD", "lines": lines}


def test_customers_and_products_of_files_and_options_are_refused() -> None:
    customer = {"customer_id": RESERVED, "name": "Ada", "email": "", "currency": "USD", "opening_balance": "1.00"}
    with pytest.raises(InvalidInput, match=f"^customer_id: {REFUSED}"):
        customer_of_row(customer)
    with pytest.raises(InvalidInput, match=f"^account_id: {REFUSED}"):
        customer_of_account(RESERVED, "USD", "0", "0", None, None)
    with pytest.raises(InvalidInput, match=f"^sku: {REFUSED}"):
        product_of_row({"sku": RESERVED, "name": "Tea", "currency": "USD", "unit_price": "1.00", "stock": "1"})


def test_customers_and_products_are_refused_unless_the_contrast_makes_them() -> None:
    customer, product = Customer(RESERVED, "Ada", None, CENT), Product(RESERVED, "Tea", CENT, 1)
    with pytest.raises(InvalidInput, match=f"^customer_id: {REFUSED}"):
        check_customer(customer)
    with pytest.raises(InvalidInput, match=f"^sku: {REFUSED}"):
        check_product(product)
    assert check_customer(customer, for_contrast=True) == customer
    assert check_product(product, for_contrast=True) == product


@pytest.mark.parametrize("case", MIXED)
def test_an_order_with_some_ids_of_the_contrast_is_refused(case: str) -> None:
    with pytest.raises(InvalidInput, match=REFUSED) as refused:
        check_order(order(*MIXED[case]))
    assert refused.value.field == (case if case in ("order_id", "customer_id", "lines.1.sku") else "order_id")
    with pytest.raises(InvalidInput, match=REFUSED):
        parse_order(json.dumps(document(*MIXED[case])))


def test_an_order_with_only_such_ids_is_the_contrasts() -> None:
    own = order(RESERVED, RESERVED, [RESERVED, contrast_id("yours")])
    assert check_order(own) == own


@pytest.mark.parametrize("name", ["mine-shardwise-contrast", "mine.shardwise-contrast-", "mine.contrast", "contrast-1"])
def test_only_exactly_that_ending_is_reserved(name: str) -> None:
    assert check_order(order(name, "ada", ["TEA"])).order_id == name
    assert check_product(Product(name, "Tea", CENT, 1)).sku == name


@pytest.mark.parametrize("workflow_type", ["OrderSaga", "PlaceChoreographedOrder"])
@pytest.mark.parametrize("case", MIXED)
def test_no_client_of_temporal_starts_one_either(workflow_type: str, case: str) -> None:
    start = next(each for each in starts() if each.workflow_type == workflow_type)
    style = {"style": "choreographed"} if workflow_type == "PlaceChoreographedOrder" else {}
    given = {**start.document, "order": {**document(*MIXED[case]), **style}}
    payload = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(given).encode())
    with pytest.raises(InvalidInput, match=REFUSED) as refused:
        read_start(workflow_type, start.workflow_id, [payload])
    assert (refused.value.field or "").startswith("order.")


ASKED: dict[str, Callable[[Shardwise], Awaitable[Any]]] = {
    "order_id": lambda app: app.orders.place("ada", [("TEA", 1)], RESERVED, "USD"),
    "customer_id": lambda app: app.orders.place(RESERVED, [("TEA", 1)], "A-1", "USD"),
    "lines.0.sku": lambda app: app.orders.place_order(order("A-1", "ada", [RESERVED])),
    "account_id": lambda app: app.accounts.open(RESERVED, "USD"),
    "customer_id of an import": lambda app: app.catalogue.import_customers([Customer(RESERVED, "Ada", None, CENT)]),
    "sku": lambda app: app.catalogue.import_products([Product(RESERVED, "Tea", CENT, 1)]),
}


@pytest.mark.parametrize("field", ASKED)
async def test_the_application_refuses_before_it_asks_a_server(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lead_nowhere(monkeypatch)
    async with await Shardwise.connect() as app:
        with pytest.raises(InvalidInput, match=REFUSED) as refused:
            await ASKED[field](app)
        assert refused.value.field == field.partition(" ")[0]
