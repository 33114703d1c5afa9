"""Every command in a process of its own, as its users have it, prints what it prints inside a test's process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import Shardwise

DATA = Path(__file__).parent.parent / "data"


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (("account", "show", "rich"), 0),
        (("account", "freeze", "nobody"), 1),
        (("customer", "rename", "nobody", "--name", "Ada"), 1),
        (("import", "customers", "no-such-file.csv"), 2),
        (("order", "show", "unheard-of"), 1),
        (("order", "place", "--customer", "rich", "--line", "APPLE:1", "--id", "in-two-processes"), 0),
        (("product", "rename", "APPLE", "--name", ""), 2),
        (("profile", "show", "nobody"), 1),
        (("projection", "retry"), 0),
        (("recover", "--dry-run"), 0),
        (("report", "sales", "--from", "1990-01-01", "--to", "1990-01-02"), 0),
        (("stock", "receive", "TABLE", "1", "--id", "in-two-processes"), 0),
        (("transfer", "show", "rich", "unheard-of"), 1),
        (("transfer", "rich", "rich", "0.01"), 2),
        (("no-such-command",), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_a_process_answers_the_same(shardwise: Shardwise, arguments: tuple[str, ...], exit_code: int) -> None:
    typed = shardwise(*arguments)
    assert (typed.exit_code, typed.document) == (exit_code, shardwise.inside(*arguments).document)


def test_verify_and_a_file_of_orders_in_processes(shardwise: Shardwise) -> None:
    imported = shardwise("import", "orders", str(DATA / "orders.jsonl"))
    assert (imported.exit_code, imported.document["total"]) == (0, 8)
    assert shardwise("verify").document["ok"] is True


@pytest.mark.parametrize("topic", ["account", "import", "order", "verify"])
def test_with_its_servers_away_a_process_says_so(tmp_path: Path, topic: str) -> None:
    arguments = {"account": ("show", "rich"), "import": ("customers", str(DATA / "customers.csv"))}
    answer = Shardwise(tmp_path)(topic, *arguments.get(topic, ("list",) if topic == "order" else ()))
    assert (answer.exit_code, answer.document["error"]["code"]) == (3, "no_stack")
