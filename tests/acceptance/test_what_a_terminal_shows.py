"""The text of commands at a terminal of a hundred columns: it fits, and no id is cut or broken."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from unittest import mock

import pytest

from cli.main import run
from shardwise.operations.stack_status import OtherParts, look_at_other_parts
from stack.embedded.status import ServerStatus, StackStatus, TemporalStatus
from stack.settings import load_settings
from tests.support.command import Shardwise

COLUMNS = 100
# As long as a UUID, which is what most programs give for an id.
CUSTOMER, TARGET = "customer-0b1a-4c5d-8e9f-a0b1c2d3e4f5", "receiver-0b1a-4c5d-8e9f-a0b1c2d3e4f5"
ORDER, REFUSED, TRANSFER = (f"{kind}-4c5d-8e9f-a0b1c2d3e4f5-2026" for kind in ("order", "refused", "transfer"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Screen:
    exit_code: int
    lines: list[str]
    said: str


@pytest.fixture
def typed(shardwise: Shardwise, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Screen]:
    """Runs a command at a terminal that is `COLUMNS` wide."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.setenv("TERM", "dumb")

    def run_it(*arguments: str) -> Screen:
        screen, said = Terminal(), io.StringIO()
        with (
            shardwise.led(),
            mock.patch.object(sys, "stdout", screen),
            mock.patch.object(sys, "stderr", said),
            ThreadPoolExecutor(1) as thread,
        ):
            code = thread.submit(run, arguments).result()
        return Screen(code, [line.rstrip() for line in screen.getvalue().splitlines()], said.getvalue())

    return run_it


@pytest.fixture(scope="module")
def busy(shardwise: Shardwise) -> None:
    """Accounts, orders and a transfer with long ids, in the read model too."""
    for account in (CUSTOMER, TARGET):
        opened = shardwise.inside("account", "open", account, "--currency", "USD", "--balance", "1000000.00")
        assert opened.exit_code == 0
    place = ("order", "place", "--customer", CUSTOMER)
    assert shardwise.inside(*place, "--line", "APPLE:1", "--id", ORDER).exit_code == 0
    assert shardwise.inside(*place, "--line", "CHAIR:900@0.01", "--id", REFUSED).exit_code == 1
    assert shardwise.inside("transfer", CUSTOMER, TARGET, "14.00", "--id", TRANSFER).exit_code == 0
    shardwise.once(lambda found: len(found["orders"]) == 2, "order", "list", "--customer", CUSTOMER)
    shardwise.once(lambda found: len(found["movements"]) >= 3, "account", "statement", CUSTOMER)


@pytest.mark.parametrize(
    ("arguments", "copied"),
    [
        (("order", "list", "--customer", CUSTOMER), [ORDER, REFUSED, CUSTOMER, "out_of_stock"]),
        (("order", "list", "--status", "stuck"), ["no orders"]),
        (("order", "show", REFUSED), [REFUSED, CUSTOMER, "CHAIR"]),
        (("order", "details", ORDER), [ORDER, CUSTOMER, "APPLE"]),
        (("account", "show", CUSTOMER), [CUSTOMER]),
        (("account", "statement", CUSTOMER), [f"order {ORDER}", TARGET]),
        (("transfer", "show", CUSTOMER, TRANSFER), [TRANSFER, CUSTOMER, TARGET]),
        (("stock", "show", "APPLE"), ["APPLE"]),
        (("stock", "list"), ["APPLE", "CHAIR"]),
        (("customer", "rename", CUSTOMER, "--name", "A customer with a name that is not short"), [CUSTOMER]),
        (("product", "rename", "APPLE", "--name", "Apple"), ["APPLE"]),
        (("profile", "set", CUSTOMER, "--city", "London", "--set", f"motto={'to be or not to be ' * 10}"), [CUSTOMER]),
        (("profile", "show", CUSTOMER), [CUSTOMER, "London", "motto"]),
        (("report", "sales", "--by", "product-day"), ["APPLE"]),
        (("report", "balances", "--limit", "1000"), [CUSTOMER, TARGET, "in flight"]),
        (("recover", "--dry-run"), []),
        (("projection", "status"), ["shard-1"]),
        (("projection", "rebuild", "--dry-run"), ["shard-1"]),
        (("migrate",), ["read_model"]),
        (("verify",), ["prepared_transactions"]),
        (("watch", "--interval", "0.2", "--once"), ["transfers", "in doubt: nothing", "declined"]),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_it_fits_and_whatever_is_copied_is_on_one_line(
    busy: None, typed: Callable[..., Screen], arguments: tuple[str, ...], copied: list[str]
) -> None:
    screen = typed(*arguments)
    assert screen.exit_code == 0, screen
    # A sentence is left to the terminal to wrap; what is drawn is not.
    drawn = [line for line in screen.lines if line[:1] in ("┏", "┃", "┡", "│", "└", "─") or "  " in line]
    assert all(len(line) <= COLUMNS for line in drawn), screen.lines
    for each in copied:
        assert any(each in line for line in screen.lines), (each, screen.lines)


def test_a_retry_of_a_final_order_says_how_it_ended(busy: None, typed: Callable[..., Screen]) -> None:
    screen = typed("order", "retry", REFUSED)
    assert screen.exit_code == 0
    assert f"order {REFUSED} is final, it ended as rejected: nothing waits, nothing is tried again" in screen.said


def test_watch_finds_the_worker_by_its_polls_and_counts_transfers(busy: None, shardwise: Shardwise) -> None:
    found = shardwise.inside("watch", "--interval", "0.2").document
    [worker] = [part for part in found["parts"] if part["kind"] == "worker"]
    assert worker["up"]
    assert worker["where"] == "orders, inventory, payment, shipping, transfers, outbox"
    assert found["transfers"]["settled"] >= 1
    assert found["transfers"]["confirmed"] == found["transfers"]["settled"]
    assert found["transfers"]["in_flight"] == 0
    assert found["in_doubt"] == {"transactions": 0, "oldest_seconds": None, "alarm": False}
    assert found["at"].endswith("Z")


def test_status_finds_the_read_model_and_the_workers_that_poll(shardwise: Shardwise) -> None:
    """Of servers that are no stack, since the answer is of the databases and of Temporal."""
    up = ServerStatus(name="catalog", dsn="", pid=1, up=True)
    found = StackStatus(temporal=TemporalStatus(address="", ui="", pid=1, up=True), shards=[], catalog=up, workers=[])

    def beside(**changes: str) -> OtherParts:
        with shardwise.led_by(**changes).led(), ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(look_at_other_parts(load_settings(), found))).result()

    here = beside()
    assert (here.read_model.up, here.read_model.why) == (True, None)
    assert "@" not in here.read_model.where
    assert [each.queues[0] for each in here.other_workers or ()] == ["orders"]
    gone = beside(SHARDWISE_READ_MODEL_DSN="postgresql://u:secret@127.0.0.1:1/nothing").read_model
    assert not gone.up
    assert "does not answer" in (gone.why or "")
    assert "secret" not in gone.model_dump_json()
