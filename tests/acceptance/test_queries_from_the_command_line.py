"""What the command line shows from the read model: one beside the installation's, filled by hand.

Run inside this process.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from cli.main import run as run_command
from domain.orders import OrderStatus
from shards.connections.database import Database
from stack.settings import Databases, load_settings
from stack.temporal_client import connect
from tests.support.command import Answer, Shardwise
from tests.support.nowhere import NOTHING
from tests.support.postgres import create_databases, drop_databases, owner_of, sibling
from tests.support.read_model import MINUTE, T0, account, fill, item, level, line, order, product, sold
from workers.migration.migrate import migrate_databases
from workflows.orders.saga import ORDER_STATUS, workflow_id

FILLED = "read_model_filled"
FIRST, SECOND = date(2026, 3, 1), date(2026, 3, 2)
QUERIES = (
    ("order", "list"),
    ("order", "list", "--status", "stuck"),
    ("order", "details", "Q1"),
    ("account", "statement", "ada"),
    ("stock", "list"),
    ("report", "sales"),
)


async def _make(admin: str, databases: Databases) -> None:
    await create_databases(admin, {FILLED: "template0"})
    await migrate_databases(owner_of(databases), lambda _: None, databases)
    database = Database("read_model", databases.read_model)
    await fill(
        database,
        order_details=[
            order("Q1", placed_at=T0, day=SECOND, ship_to={"city": "Turin"}, decided_at=T0 + MINUTE),
            order("Q2", placed_at=T0, customer_id="bob", state="pending"),
            order("Q3", placed_at=T0 + MINUTE, state="rejected", reason="out_of_stock", detail="TEA: 2 wanted"),
        ],
        order_item=[item("Q1", product_name="Tea, green"), item("Q3")],
        account_details=[account("ada", 850)],
        statement_line=[line("ada", 1, 1000), line("ada", 2, -150)],
        product=[product("TEA", "Tea, green")],
        stock_level=[level("TEA", 10, 2), level("CUP")],
        sales=[sold(FIRST, "CUP", 350), sold(SECOND, "TEA", 1400, units=2), sold(SECOND, "CUP", 350, currency="EUR")],
    )
    await database.close()


@pytest.fixture(scope="module")
def installed(shardwise: Shardwise) -> Shardwise:
    """The installation's own read model, without the changes made here."""
    return shardwise


@pytest.fixture(scope="module")
def databases(installed: Shardwise, postgres_server: str) -> Iterator[Databases]:
    made = replace(installed.databases, read_model=sibling(installed.databases.read_model, FILLED))
    asyncio.run(_make(postgres_server, made))
    yield made
    asyncio.run(drop_databases(postgres_server, [FILLED]))


@pytest.fixture(scope="module")
def filled(installed: Shardwise, databases: Databases) -> Shardwise:
    """Its commands find the filled read model beside everything else of the installation."""
    return installed.led_by(SHARDWISE_READ_MODEL_DSN=databases.read_model)


def document_of(filled: Shardwise, *arguments: str) -> dict[str, Any]:
    answer = filled.inside(*arguments)
    assert answer.exit_code == 0, answer
    return answer.content


def refused(answer: Answer, exit_code: int) -> dict[str, Any]:
    assert answer.exit_code == exit_code, answer
    error: dict[str, Any] = answer.document["error"]
    assert len(error["message"]) < 500
    return error


def ids(document: dict[str, Any]) -> list[str]:
    return [each["order_id"] for each in document["orders"]]


def test_orders_are_listed_with_what_the_read_model_has(filled: Shardwise) -> None:
    listed = document_of(filled, "order", "list")
    assert ids(listed) == ["Q3", "Q2", "Q1"]
    assert listed["next"] is None
    assert listed["orders"][0] == {
        "order_id": "Q3",
        "status": "rejected",
        "reason": "out_of_stock",
        "detail": "TEA: 2 wanted",
        "total": "14.00",
        "currency": "USD",
        "lines": [{"sku": "TEA", "quantity": 2, "unit_price": "7.00"}],
        "customer_id": "ada",
        "customer_shard": "shard-1",
        "placed_at": "2026-03-01T12:01:00.000000Z",
        "decided_at": None,
        "style": "orchestrated",
        "workflow_id": "order/Q3",
        "waits_for": None,
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--customer", "ada"), ["Q3", "Q1"]),
        (("--customer", "nobody"), []),
        (("--status", "pending", "--status", "confirmed"), ["Q2", "Q1"]),
        (("--status", "stuck"), []),
        (("--status", "compensating"), []),
        (("--since", "2026-03-01"), ["Q3", "Q2", "Q1"]),
        (("--since", "2026-03-01T12:00:30Z"), ["Q3"]),
        (("--until", "2026-03-01T13:01:00+01:00"), ["Q2", "Q1"]),
        (("--until", "2026-02-28"), []),
        (("--until", "2026-03-01", "--since", "2026-03-01"), ["Q3", "Q2", "Q1"]),
        (("--day", "2026-03-02"), ["Q1"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_orders_are_listed_by(filled: Shardwise, options: tuple[str, ...], expected: list[str]) -> None:
    assert ids(document_of(filled, "order", "list", *options)) == expected


@pytest.fixture
def stuck(filled: Shardwise) -> Iterator[str]:
    """An order whose workflow has the status `stuck`: no worker polls for it, and it is deleted afterwards."""
    saga_id = workflow_id("Q2")

    async def temporal() -> Client:
        with filled.led():
            return await connect(load_settings())

    async def begin() -> None:
        client = await temporal()
        said = TypedSearchAttributes([SearchAttributePair(ORDER_STATUS, OrderStatus.STUCK)])
        await client.start_workflow("OrderSaga", id=saga_id, task_queue="nobody", search_attributes=said)

    async def forget() -> None:
        client = await temporal()
        execution = WorkflowExecution(workflow_id=saga_id)
        request = DeleteWorkflowExecutionRequest(namespace=client.namespace, workflow_execution=execution)
        await client.workflow_service.delete_workflow_execution(request)

    asyncio.run(begin())
    yield "Q2"
    asyncio.run(forget())
    filled.once(lambda listed: listed["orders"] == [], "order", "list", "--status", "stuck")


def test_an_order_that_temporal_calls_stuck_is_stuck_and_nothing_else(filled: Shardwise, stuck: str) -> None:
    listed = filled.once(lambda listed: ids(listed) == [stuck], "order", "list", "--status", "stuck")
    assert listed["orders"][0]["status"] == "stuck"
    assert ids(document_of(filled, "order", "list", "--status", "pending")) == []
    assert [each["status"] for each in document_of(filled, "order", "list")["orders"]] == [
        "rejected",
        "stuck",
        "confirmed",
    ]


def test_every_list_goes_on_where_its_token_says(filled: Shardwise) -> None:
    for command, rows, name in (
        (("order", "list"), "orders", "order_id"),
        (("account", "statement", "ada"), "movements", "saga_id"),
        (("stock", "list"), "stock", "sku"),
    ):
        whole = [each[name] for each in document_of(filled, *command)[rows]]
        found, after = [], ()
        for _ in whole:
            page = document_of(filled, *command, "--limit", "1", *after)
            found += [each[name] for each in page[rows]]
            after = ("--after", page["next"]) if page["next"] else ()
        assert found == whole
        assert after == ()


def test_the_details_of_an_order(filled: Shardwise) -> None:
    assert document_of(filled, "order", "details", "Q1") == {
        "order_id": "Q1",
        "status": "confirmed",
        "style": "orchestrated",
        "reason": None,
        "detail": None,
        "customer": {"customer_id": "ada", "name": "Ada Lovelace", "email": "ada@example.org"},
        "customer_shard": "shard-1",
        "currency": "USD",
        "total": "14.00",
        "items": [{"sku": "TEA", "product_name": "Tea, green", "quantity": 2, "unit_price": "7.00", "amount": "14.00"}],
        "ship_to": {"city": "Turin"},
        "day": "2026-03-02",
        "placed_at": "2026-03-01T12:00:00.000000Z",
        "decided_at": "2026-03-01T12:01:00.000000Z",
        "closed_at": None,
        "version": 2,
    }
    assert document_of(filled, "order", "details", "Q3")["items"][0]["product_name"] == "TEA"


def test_an_order_that_the_read_model_lacks_may_not_be_there_yet(filled: Shardwise) -> None:
    error = refused(filled.inside("order", "details", "Q9"), 1)
    assert (error["code"], error["field"]) == ("unknown_order", "order_id")
    assert "may not have it yet (`order show Q9` asks the shards)" in error["message"]
    error = refused(filled.inside("account", "statement", "nobody"), 1)
    assert (error["code"], error["field"]) == ("unknown_account", "account_id")


def test_a_statement_ends_with_what_its_lines_add_up_to(filled: Shardwise) -> None:
    statement = document_of(filled, "account", "statement", "ada")
    assert (statement["account_id"], statement["currency"], statement["balance"]) == ("ada", "USD", "8.50")
    lines = [(each["amount"], each["balance_after"], each["other_side"]) for each in statement["movements"]]
    assert lines == [("-1.50", "8.50", "merchant.USD"), ("10.00", "10.00", "merchant.USD")]


def test_stock_is_listed_by_sku(filled: Shardwise) -> None:
    cup, tea = document_of(filled, "stock", "list")["stock"]
    assert (cup["sku"], cup["product_name"]) == ("CUP", "CUP")
    assert tea == {
        "sku": "TEA",
        "product_name": "Tea, green",
        "on_hand": 10,
        "reserved": 2,
        "available": 8,
        "shard": "shard-1",
    }


def test_sales_are_reported_with_totals_by_currency(filled: Shardwise) -> None:
    whole = document_of(filled, "report", "sales")
    assert [(each["sku"], each["currency"], each["amount"], each["day"]) for each in whole["sales"]] == [
        ("CUP", "EUR", "3.50", None),
        ("CUP", "USD", "3.50", None),
        ("TEA", "USD", "14.00", None),
    ]
    assert whole["totals"] == [{"currency": "EUR", "amount": "3.50"}, {"currency": "USD", "amount": "17.50"}]
    period = ("--from", "2026-03-02", "--to", "2026-03-02")
    [tea] = document_of(filled, "report", "sales", *period, "--sku", "TEA", "--by", "product-day")["sales"]
    assert tea == {
        "day": "2026-03-02",
        "sku": "TEA",
        "product_name": "Tea, green",
        "orders": 1,
        "units": 2,
        "amount": "14.00",
        "currency": "USD",
    }
    by_day = document_of(filled, "report", "sales", "--by", "day")
    assert [each["day"] for each in by_day["sales"]] == ["2026-03-01", "2026-03-02", "2026-03-02"]
    assert document_of(filled, "report", "sales", "--from", "2027-01-01")["sales"] == []


def test_the_text_shows_the_same(filled: Shardwise, capsys: pytest.CaptureFixture[str]) -> None:
    for command, expected in (
        (["order", "list", "--limit", "1"], ["Q3", "more: --after "]),
        (["order", "details", "Q1"], ["Ada Lovelace <ada@example.org> (ada)", "Tea, green", "total 14.00 USD"]),
        (["order", "details", "Q3"], ["order Q3 is rejected: out_of_stock, TEA: 2 wanted"]),
        (["account", "statement", "ada"], ["account ada: 8.50 USD", "-1.50"]),
        (["stock", "list"], ["Tea, green"]),
        (["report", "sales", "--by", "day"], ["2026-03-02", "total 17.50 USD"]),
    ):
        with filled.led():
            assert run_command(command) == 0
        shown = capsys.readouterr().out
        assert all(text in shown for text in expected), shown


@pytest.mark.parametrize("arguments", QUERIES, ids=" ".join)
def test_a_read_model_that_is_away_is_named(filled: Shardwise, arguments: tuple[str, ...]) -> None:
    away = filled.led_by(SHARDWISE_READ_MODEL_DSN=NOTHING)
    assert "read_model does not answer" in refused(away.inside(*arguments), 3)["message"]


@pytest.mark.parametrize("arguments", QUERIES, ids=" ".join)
def test_a_database_that_is_no_read_model_is_named(
    filled: Shardwise, databases: Databases, arguments: tuple[str, ...]
) -> None:
    error = refused(filled.led_by(SHARDWISE_READ_MODEL_DSN=databases.catalog).inside(*arguments), 3)
    assert error["code"] == "not_migrated"
    assert "read_model" in error["message"]
    missing = filled.led_by(SHARDWISE_READ_MODEL_DSN=sibling(databases.catalog, "missing"))
    assert 'read_model: database "missing" does not exist' in refused(missing.inside(*arguments), 2)["message"]


def test_queries_need_the_read_model_only(filled: Shardwise, databases: Databases) -> None:
    there = {arguments: document_of(filled, *arguments) for arguments in QUERIES if "stuck" not in arguments}
    alone = filled.led_by(
        SHARDWISE_SHARDS=json.dumps(dict.fromkeys(databases.shards, NOTHING)),
        SHARDWISE_CATALOG_DSN=NOTHING,
        TEMPORAL_ADDRESS="127.0.0.1:1",
    )
    assert {arguments: document_of(alone, *arguments) for arguments in there} == there
    # Only Temporal knows which orders are stuck.
    error = refused(alone.inside("order", "list", "--status", "stuck"), 3)
    assert error["code"] == "temporal_unreachable"


def test_a_token_is_that_of_its_own_list_and_account(filled: Shardwise) -> None:
    token = document_of(filled, "order", "list", "--limit", "1")["next"]
    for other in (("stock", "list"), ("account", "statement", "ada")):
        assert refused(filled.inside(*other, "--after", token), 2)["field"] == "after"
    token = document_of(filled, "account", "statement", "ada", "--limit", "1")["next"]
    assert refused(filled.inside("account", "statement", "bob", "--after", token), 2)["field"] == "after"


def test_nothing_of_this_was_left_on_the_installation(installed: Shardwise) -> None:
    assert installed.inside("verify").document["ok"] is True
