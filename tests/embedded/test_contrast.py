"""`contrast` on a real stack: what must be so at any speed, and that neither its pauses nor its orders leave a trace in
lists."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contrast.watched_worker import QUEUE
from domain.identifiers import CONTRAST_SUFFIX, contrast_id
from domain.transfers import ProtocolChoice
from shardwise.connections import connected
from shardwise.transfers.sagas import TransferSagas
from stack.settings import Settings
from tests.support.command import Answer, Shardwise
from tests.support.two_phase import BOTH as PARTICIPANTS
from tests.support.two_phase import SOURCE, TransferByHand, new_transfer, nothing_left_prepared
from tests.support.world import World

BOTH = {"source", "target"}


@asynccontextmanager
async def _world(shardwise: Shardwise) -> AsyncIterator[tuple[World, TransferSagas]]:
    settings = Settings(data_dir=shardwise.data_dir)
    async with connected(settings) as to:
        yield World(to.cluster), TransferSagas(to.temporal, settings, QUEUE)


@pytest.fixture(scope="module")
def left_in_doubt(shardwise: Shardwise) -> Iterator[str]:
    """The saga that a contrast leaves when it is killed in a pause: prepared on both shards, which holds their outboxes
    back, and its workflow waits for the worker of the next contrast."""

    async def leave() -> str:
        async with _world(shardwise) as (world, sagas):
            left: TransferByHand = await new_transfer(world)
            await sagas.start(left.transfer, ProtocolChoice.TWO_PHASE, left.shards[SOURCE])
            await left.prepare_both()
            assert await left.prepared() == list(PARTICIPANTS)
            return left.transfer.saga_id

    async def clear() -> None:
        async with _world(shardwise) as (world, _), nothing_left_prepared(world.cluster):
            pass

    yield asyncio.run(leave())
    asyncio.run(clear())


@pytest.fixture(scope="module")
def contrasted(
    shardwise: Shardwise, tmp_path_factory: pytest.TempPathFactory, left_in_doubt: str
) -> tuple[Answer, Path]:
    """Without a picture; with the folder that it ran in."""
    folder = tmp_path_factory.mktemp("contrast")
    return shardwise("contrast", "--quick", "--markdown", "table.md", folder=folder), folder


@pytest.fixture(scope="module")
def document(contrasted: tuple[Answer, Path]) -> dict[str, Any]:
    answer, _ = contrasted
    assert answer.exit_code == 0, answer.stdout + answer.stderr
    return answer.document


def middle(document: dict[str, Any], border: str) -> dict[str, Any]:
    [found] = [each for each in document["middles"] if each["border"] == border]
    return dict(found)


def sides(found: dict[str, Any], of: str, fact: str) -> set[str]:
    return {each["side"] for each in found[of] if each[fact]}


def test_every_cell_is_measured_and_every_transfer_accounted_for(document: dict[str, Any]) -> None:
    cells = document["cells"]
    assert {(each["protocol"], each["place"], each["concurrency"]) for each in cells} == {
        (protocol, place, at_once)
        for protocol in ("local", "saga", "2pc")
        for place in ("spread", "hot source")
        for at_once in (1, 4)
    }
    assert all(each["settled"] + sum(each["declined"].values()) == each["transfers"] for each in cells)
    assert all(0 < each["p50_ms"] <= each["p95_ms"] <= each["p99_ms"] for each in cells)


def test_the_cost_of_a_transfer_is_counted_from_the_statements_sent(document: dict[str, Any]) -> None:
    costs = {each["protocol"]: each for each in document["costs"]}
    assert {protocol: each["commits"] for protocol, each in costs.items()} == {"local": 1, "saga": 4, "2pc": 5}
    assert costs["local"]["round_trips"] < costs["saga"]["round_trips"] < costs["2pc"]["round_trips"]
    assert costs["local"]["history_events"] < costs["saga"]["history_events"] < costs["2pc"]["history_events"]
    assert all(0 < each["locked_ms"] <= each["locked_total_ms"] for each in costs.values())
    assert costs["local"]["locked_ms"] == costs["local"]["locked_total_ms"]


def test_both_styles_of_an_order_are_measured_and_counted(document: dict[str, Any]) -> None:
    assert {(each["style"], each["concurrency"]) for each in document["style_cells"]} == {
        (style, at_once) for style in ("orchestrated", "choreographed") for at_once in (1, 4)
    }
    assert all(0 < each["p50_ms"] <= each["p95_ms"] <= each["p99_ms"] for each in document["style_cells"])
    costs = {each["style"]: each for each in document["style_costs"]}
    assert {style: each["workflows"] for style, each in costs.items()} == {"orchestrated": 1, "choreographed": 6}
    assert costs["orchestrated"]["history_events"] < costs["choreographed"]["history_events"]
    # Stock and accounts publish theirs in either style. Two more: all stock shards have answered, payment is held.
    assert costs["choreographed"]["outbox_events"] == costs["orchestrated"]["outbox_events"] + 2


def test_in_the_middle_of_a_saga_money_is_missing_and_all_others_go_on(document: dict[str, Any]) -> None:
    found = middle(document, "after the capture, before the credit")
    assert found["middle"]["missing"] == found["amount"] == "30.00"
    assert sides(found, "writers", "row_free") == sides(found, "writers", "settled_in_pause") == BOTH
    assert sides(found, "servers", "watermark_moved") == BOTH
    assert sides(found, "servers", "hidden_events") == set()
    assert sides(found, "servers", "dead_rows_kept") == set()


def test_in_doubt_readers_see_the_old_balances_and_writers_wait_for_the_lock_timeout(document: dict[str, Any]) -> None:
    found = middle(document, "after the last vote, before the first commit")
    assert found["middle"]["missing"] == "0.00"
    assert [found["middle"][side] for side in sorted(BOTH)] == [found["before"][side] for side in sorted(BOTH)]
    assert sides(found, "writers", "row_free") == sides(found, "writers", "settled_in_pause") == set()
    assert all(each["row_waited_ms"] >= each["lock_timeout_ms"] for each in found["writers"])


def test_in_doubt_the_watermark_and_vacuum_stand_still_on_both_servers(document: dict[str, Any]) -> None:
    found = middle(document, "after the last vote, before the first commit")
    assert sides(found, "servers", "watermark_moved") == set()
    assert all(each["hidden_events"] >= each["unrelated_transfers"] for each in found["servers"])
    assert all(each["dead_rows_kept"] >= each["unrelated_transfers"] for each in found["servers"])
    assert all(each["horizon_age"] >= each["unrelated_transfers"] for each in found["servers"])


def test_between_the_two_commits_money_is_missing_and_only_the_target_is_kept(document: dict[str, Any]) -> None:
    found = middle(document, "after the source's commit, before the target's")
    assert found["middle"]["missing"] == "30.00"
    assert sides(found, "writers", "row_free") == sides(found, "servers", "watermark_moved") == {"source"}
    assert sides(found, "servers", "hidden_events") == sides(found, "servers", "dead_rows_kept") == {"target"}


def test_afterwards_all_is_settled_and_verified(shardwise: Shardwise, document: dict[str, Any]) -> None:
    assert document["ok"]
    assert all(each["settled"] and each["after"]["missing"] == "0.00" for each in document["middles"])
    verified = shardwise.inside("verify")
    assert verified.exit_code == 0, verified.stdout
    assert verified.document["in_flight"] == {"orders": 0, "transfers": 0, "money": {}, "prepared_transactions": 0}


async def test_what_a_killed_contrast_left_in_doubt_is_carried_out(
    shardwise: Shardwise, document: dict[str, Any], left_in_doubt: str
) -> None:
    async with _world(shardwise) as (world, _):
        rows = await world.everywhere("SELECT state FROM admission WHERE saga_id = :saga", saga=left_in_doubt)
    assert rows == [("credited",)]


def test_only_what_was_asked_for_is_written(contrasted: tuple[Answer, Path], document: dict[str, Any]) -> None:
    _, folder = contrasted
    assert [file.name for file in folder.iterdir()] == ["table.md"]
    assert "| what a crash leaves | " in (folder / "table.md").read_text()


def test_lists_and_reports_do_not_show_what_it_made(shardwise: Shardwise, document: dict[str, Any]) -> None:
    own = shardwise("order", "place", "--customer", "rich", "--line", "LAMP:1").document["order_id"]
    shardwise.once(lambda found: found["orders"][0]["order_id"] == own, "order", "list", "--limit", "1")
    # The read model has the contrast's orders: they can be looked up by id.
    order_id = contrast_id(f"{document['run_id']}-cost-choreographed-0")
    details = shardwise.once(lambda found: found["status"] == "confirmed", "order", "details", order_id)
    customer_id, [one, other] = details["customer"]["customer_id"], [each["sku"] for each in details["items"]]
    listed = [each["order_id"] for each in shardwise.inside("order", "list", "--limit", "1000").document["orders"]]
    assert own in listed
    assert [each for each in listed if each.endswith(CONTRAST_SUFFIX)] == []
    assert shardwise.inside("order", "list", "--customer", customer_id).document["orders"] == []
    stock = [each["sku"] for each in shardwise.inside("stock", "list", "--limit", "1000").document["stock"]]
    assert "LAMP" in stock
    assert not {one, other} & set(stock)
    sales = [shardwise.inside("report", "sales", "--by", by).document for by in ("product", "day")]
    assert "LAMP" in {each["sku"] for each in sales[0]["sales"]}
    assert not {one, other} & {each["sku"] for each in sales[0]["sales"]}
    assert sales[0]["totals"] == sales[1]["totals"]
    assert shardwise.inside("report", "sales", "--sku", one).document["sales"] == []


@pytest.mark.parametrize("field", ["order_id", "customer", "line"])
def test_its_ids_cannot_be_ordered(shardwise: Shardwise, document: dict[str, Any], field: str) -> None:
    order_id = contrast_id(f"{document['run_id']}-cost-choreographed-0")
    details = shardwise.inside("order", "details", order_id).document
    given = {"order_id": "own", "customer": "rich", "line": "LAMP:1"}
    taken = {"order_id": contrast_id("own"), "customer": details["customer"]["customer_id"]}
    taken["line"] = f"{details['items'][0]['sku']}:1"
    given[field] = taken[field]
    placed = shardwise.inside(
        "order", "place", "--id", given["order_id"], "--customer", given["customer"], "--line", given["line"]
    )
    assert placed.exit_code == 2, placed
    assert "are those of `shardwise contrast`" in placed.document["error"]["message"]
