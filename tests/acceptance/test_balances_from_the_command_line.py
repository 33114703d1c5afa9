"""What a user of the command line sees of `report balances`, with all shards and with one away."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from tests.support.command import Shardwise


def assert_balanced(document: dict[str, Any]) -> None:
    assert document["totals"]
    for each in document["totals"]:
        parts = sum(Decimal(each[name]) for name in ("customers", "merchants", "clearing"))
        assert parts == Decimal(each["paid_in"]), each


def test_totals_balance_and_pages_have_every_account_once(shardwise: Shardwise) -> None:
    first = shardwise.inside("report", "balances", "--limit", "3").document
    assert_balanced(first)
    assert list(first["as_of"]) == ["shard-1", "shard-2", "shard-3"]
    assert first["missing"] == []
    assert all(each["in_flight"] == each["clearing"] for each in first["totals"])
    pages, page = [first], first
    while page["next"] is not None:
        page = shardwise.inside("report", "balances", "--limit", "3", "--after", page["next"]).document
        assert page["totals"] == []
        pages.append(page)
    accounts = [each for page in pages for each in page["accounts"]]
    ids = [each["account_id"] for each in accounts]
    assert ids == sorted(set(ids))
    assert len(ids) == sum(each["accounts"] for each in first["totals"])
    [rich] = [each for each in accounts if each["account_id"] == "rich"]
    assert rich == shardwise.inside("account", "show", "rich").content
    for each in first["totals"]:
        held = sum(Decimal(account["held"]) for account in accounts if account["currency"] == each["currency"])
        assert held == Decimal(each["held"])


def test_with_a_shard_away_it_says_so_and_partly_reports_the_others(shardwise: Shardwise) -> None:
    shards = {**shardwise.databases.shards, "shard-2": "postgresql://somebody@127.0.0.1:1/nothing"}
    partly = shardwise.led_by(SHARDWISE_SHARDS=json.dumps(shards))
    refused = partly.inside("report", "balances")
    assert (refused.exit_code, refused.document["error"]["code"]) == (3, "shard_unreachable")
    assert "shard-2 does not answer" in refused.document["error"]["message"]
    answer = partly.inside("report", "balances", "--partial", "--limit", "10000")
    assert answer.exit_code == 0
    assert "without shard-2: shard-2 does not answer" in answer.stderr
    document = answer.document
    assert list(document["as_of"]) == ["shard-1", "shard-3"]
    assert [each["shard"] for each in document["missing"]] == ["shard-2"]
    assert_balanced(document)
    assert {each["in_flight"] for each in document["totals"]} == {None}
    assert {each["shard"] for each in document["accounts"]} <= {"shard-1", "shard-3"}
    nowhere = dict.fromkeys(shards, shards["shard-2"])
    all_away = shardwise.led_by(SHARDWISE_SHARDS=json.dumps(nowhere)).inside("report", "balances", "--partial")
    assert (all_away.exit_code, all_away.document["error"]["code"]) == (3, "shard_unreachable")
