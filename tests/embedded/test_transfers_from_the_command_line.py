"""`transfer` as its users have it: by each protocol, repeated, declined, with a shard away, with its workflow gone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from decimal import Decimal

import pytest
from temporalio.client import Client

from domain.identifiers import transfer_saga_id
from domain.shard_map import bucket_of, spread_buckets
from tests.support.command import Answer, Shardwise

SHARDS = ("shard-1", "shard-2", "shard-3")
SECONDS_MAX = 60
DOCUMENT = {"transfer_id", "status", "protocol", "reason", "source_shard", "target_shard"}

_numbers = itertools.count(1)


@pytest.fixture
def bank(shardwise: Shardwise) -> Shardwise:
    return shardwise


def account(bank: Shardwise, shard: str, balance: str = "100.00") -> str:
    """A new one on this shard."""
    owners = spread_buckets(SHARDS)
    names = (f"person-{next(_numbers)}" for _ in itertools.count())
    name = next(each for each in names if owners[bucket_of(each)] == shard)
    opened = bank.inside("account", "open", name, "--currency", "USD", "--balance", balance)
    assert opened.exit_code == 0, opened.stdout
    return name


def pair(bank: Shardwise) -> tuple[str, str]:
    return account(bank, "shard-1"), account(bank, "shard-2")


def money(bank: Shardwise, account_id: str) -> Decimal:
    balance, held = bank.money(account_id)
    assert Decimal(held) == 0
    return Decimal(balance)


def until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not done():
        assert time.monotonic() < deadline, what


def assert_verified(bank: Shardwise) -> None:
    verified = bank.inside("verify")
    assert verified.exit_code == 0, [check for check in verified.document["checks"] if not check["ok"]]


@pytest.mark.parametrize(("asked", "run"), [("auto", "saga"), ("saga", "saga"), ("2pc", "2pc")])
def test_money_goes_from_shard_to_shard_once_however_often_it_is_sent(bank: Shardwise, asked: str, run: str) -> None:
    source, target = pair(bank)
    send = ("transfer", source, target, "12.34", "--protocol", asked, "--id", "rent", "--reference", "May")
    for command in (bank, bank.inside):
        answer = command(*send)
        assert answer.exit_code == 0, answer.stdout
        assert answer.document.keys() >= DOCUMENT
        assert (answer.document["status"], answer.document["protocol"]) == ("settled", run)
        assert (answer.document["source_shard"], answer.document["target_shard"]) == ("shard-1", "shard-2")
        assert (money(bank, source), money(bank, target)) == (Decimal("87.66"), Decimal("112.34"))
    shown = bank.inside("transfer", "show", source, "rent").document
    assert (shown["status"], shown["amount"], shown["reference"]) == ("settled", "12.34", "May")
    other = bank.inside("transfer", source, target, "12.35", "--id", "rent")
    assert (other.exit_code, other.document["error"]["code"]) == (1, "id_conflict")
    assert money(bank, target) == Decimal("112.34")
    assert_verified(bank)


def test_an_id_is_unique_within_its_source_only(bank: Shardwise) -> None:
    one, other = pair(bank)
    assert bank.inside("transfer", one, other, "1.00", "--id", "same").exit_code == 0
    assert bank.inside("transfer", other, one, "2.00", "--id", "same").exit_code == 0
    assert (money(bank, one), money(bank, other)) == (Decimal("101.00"), Decimal("99.00"))


@pytest.mark.parametrize("asked", ["auto", "local", "saga", "2pc"])
def test_on_one_shard_every_protocol_is_local_and_says_so(bank: Shardwise, asked: str) -> None:
    source, target = account(bank, "shard-3"), account(bank, "shard-3")
    answer = bank.inside("transfer", source, target, "1.00", "--protocol", asked)
    assert (answer.exit_code, answer.document["status"], answer.document["protocol"]) == (0, "settled", "local")
    assert money(bank, target) == Decimal("101.00")


def test_a_declined_transfer_stays_declined_under_its_id(bank: Shardwise) -> None:
    source, target = pair(bank)
    send = ("transfer", source, target, "100.01", "--id", "too-much")
    declined = bank.inside(*send)
    assert (declined.exit_code, declined.document["status"]) == (1, "declined")
    assert declined.document["reason"] == "insufficient_funds"
    assert bank.inside("transfer", target, source, "50.00").exit_code == 0
    again = bank.inside(*send, "--protocol", "2pc")
    assert (again.exit_code, again.document["reason"], again.document["protocol"]) == (1, "insufficient_funds", "saga")
    assert money(bank, source) == Decimal("150.00")


@pytest.mark.parametrize("protocol", ["saga", "2pc"])
def test_a_frozen_target_gets_nothing(bank: Shardwise, protocol: str) -> None:
    source, target = pair(bank)
    assert bank.inside("account", "freeze", target).exit_code == 0
    answer = bank.inside("transfer", source, target, "1.00", "--protocol", protocol)
    assert (answer.exit_code, answer.document["reason"]) == (1, "account_not_open")
    assert (money(bank, source), money(bank, target)) == (Decimal("100.00"), Decimal("100.00"))


def test_a_transfer_that_must_be_local_and_is_not_leaves_its_id_free(bank: Shardwise) -> None:
    source, target = pair(bank)
    send = ("transfer", source, target, "1.00", "--id", "near")
    refused = bank.inside(*send, "--protocol", "local")
    assert (refused.exit_code, refused.document["reason"], refused.document["protocol"]) == (1, "not_local", None)
    assert bank.inside("transfer", "show", source, "near").document["error"]["code"] == "unknown_transfer"
    assert bank.inside(*send).exit_code == 0
    assert_verified(bank)


def test_with_a_shard_away_money_waits_or_is_refused_and_other_shards_go_on(bank: Shardwise) -> None:
    source, target = pair(bank)
    elsewhere = account(bank, "shard-3")
    bank.kill_server("shard-2")
    send = ("transfer", source, target, "10.00", "--wait", "1")
    pending = {
        protocol: bank.inside(*send, "--protocol", protocol, "--id", f"by-{protocol}") for protocol in ("saga", "2pc")
    }
    for answer in pending.values():
        assert (answer.exit_code, answer.document["status"]) == (3, "pending"), answer.stdout
    assert bank.inside("transfer", source, elsewhere, "1.00").exit_code == 0
    assert bank.inside("transfer", elsewhere, source, "1.00", "--protocol", "2pc").exit_code == 0
    assert bank("up", "--detach").exit_code == 0

    def ended(protocol: str) -> str | None:
        status = bank.inside("transfer", "show", source, f"by-{protocol}").document["status"]
        return str(status) if status != "pending" else None

    until(lambda: all(map(ended, pending)), "they do not end though all shards are back")
    moved = 10 * sum(ended(protocol) == "settled" for protocol in pending)
    assert ended("saga") == "settled"
    assert (money(bank, source), money(bank, target)) == (Decimal(100 - moved), Decimal(100 + moved))
    assert_verified(bank)


async def _terminate(bank: Shardwise, source: str, transfer_id: str) -> None:
    client = await Client.connect(bank.inside("status").document["temporal"]["address"])
    await client.get_workflow_handle(transfer_saga_id(source, transfer_id)).terminate("an operator's mistake")


def _violations(answer: Answer) -> list[str]:
    return [violation["what"] for check in answer.document["checks"] for violation in check["violations"]]


async def test_a_terminated_transfer_is_named_and_recovered_from_its_row(bank: Shardwise) -> None:
    source, target = pair(bank)
    bank.kill_server("shard-2")
    assert bank.inside("transfer", source, target, "10.00", "--id", "cut-off", "--wait", "1").exit_code == 3
    await _terminate(bank, source, "cut-off")
    assert bank("up", "--detach").exit_code == 0
    damaged = bank.inside("verify")
    assert (damaged.exit_code, _violations(damaged)) == (
        1,
        [f"transfer/{source}/cut-off is pending, and nobody works on it"],
    )
    dry = bank.inside("recover", "--dry-run").document
    assert dry["transfers"] == [{"source": source, "transfer_id": "cut-off", "state": "pending", "started": False}]
    assert bank.inside("recover").document["transfers"][0]["started"] is True
    until(lambda: money(bank, target) == 110, "the recovered transfer does not end")
    assert bank.inside("transfer", source, target, "10.00", "--id", "cut-off").exit_code == 0
    assert money(bank, source) == 90
    assert_verified(bank)
    assert bank.inside("recover").document["transfers"] == []


def test_an_unknown_transfer_is_reported_as_such(bank: Shardwise) -> None:
    source, _ = pair(bank)
    answer = bank.inside("transfer", "show", source, "never-sent")
    assert (answer.exit_code, answer.document["error"]["code"]) == (1, "unknown_transfer")
