"""What a user of the command line sees of sessions and levels. The worker projects; there are no replicas."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from domain.session_tokens import parse_session
from tests.support.command import Shardwise

READS = (
    ("account", "show", "rich"),
    ("account", "statement", "rich"),
    ("stock", "show", "APPLE"),
    ("stock", "list"),
    ("product", "show", "APPLE"),
    ("profile", "show", "rich"),
    ("product", "list"),
    ("order", "list"),
    ("report", "sales"),
)


@pytest.fixture
def session(tmp_path: Path) -> str:
    return str(tmp_path / "me.session")


def first_line(file: str) -> str:
    return Path(file).read_text().splitlines()[0]


@pytest.mark.parametrize("read", READS, ids=" ".join)
def test_each_read_tells_its_level_its_server_and_its_point(
    shardwise: Shardwise, session: str, read: tuple[str, ...]
) -> None:
    is_strong = read[:2] in (("account", "show"), ("stock", "show"))
    # The projection has the sample, whatever was read before.
    assert shardwise.inside(*read, "--consistency", "strong").exit_code == 0
    answered: dict[str, Any] = shardwise.inside(*read).document["read"]
    assert answered["level"] == ("strong" if is_strong else "eventual")
    answered = shardwise.inside(*read, "--session", session).document["read"]
    assert answered["level"] == ("strong" if is_strong else "read-your-writes")
    for level in ("strong", "eventual", "read-your-writes", "monotonic"):
        found = shardwise.inside(*read, "--session", session, "--consistency", level)
        assert (found.exit_code, found.document["read"]["level"]) == (0, level), found.stderr
        [server] = found.document["read"]["servers"]
        assert server["fit"] is True
        assert server["server"] == (
            "read_model" if read[1] in ("list", "statement", "sales") else found.document["shard"]
        )
        for point in server["points"].values():
            assert point["lsn"].partition("/")[1] == "/"
    assert len(list(parse_session(first_line(session)).seen)) >= 1


def test_what_a_shell_wrote_its_lists_show_at_once(shardwise: Shardwise, session: str) -> None:
    shardwise.inside("account", "open", "session-1", "--currency", "USD", "--balance", "7.00", "--session", session)
    # By the variable, as in a shell that has exported it.
    statement = shardwise.inside("account", "statement", "session-1", session=session)
    assert (statement.exit_code, statement.document["balance"]) == (0, "7.00")
    for n in range(5):
        shardwise.inside("product", "rename", "CHAIR", "--name", f"Chair {n}", "--session", session)
        listed = shardwise.inside("product", "list", "--session", session).document["products"]
        assert [each["name"] for each in listed if each["sku"] == "CHAIR"] == [f"Chair {n}"]
    shardwise.inside("product", "rename", "CHAIR", "--name", "Chair", "--session", session)


def test_an_order_and_a_transfer_raise_the_session_by_the_shards_that_they_concern(
    shardwise: Shardwise, session: str
) -> None:
    placed = shardwise.inside(
        "order", "place", "--customer", "rich", "--line", "APPLE:1", "--id", "session-o1", "--session", session
    )
    assert placed.exit_code == 0
    wrote = {shard for shard, point in parse_session(first_line(session)).wrote if point.lsn and point.event}
    assert placed.document["customer_shard"] in wrote
    details = shardwise.inside("order", "details", "session-o1", "--session", session)
    assert (details.exit_code, details.document["status"]) == (0, "confirmed")
    moved = shardwise.inside("transfer", "rich", "poor", "1.00", "--session", session)
    assert moved.exit_code == 0
    wrote = {shard for shard, _ in parse_session(first_line(session)).wrote}
    assert {moved.document["source_shard"], moved.document["target_shard"]} <= wrote


def test_commands_at_once_lose_nothing_of_what_another_was_told(shardwise: Shardwise, session: str) -> None:
    skus = ("APPLE", "BREAD", "CHAIR")
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda sku: shardwise("stock", "receive", sku, "1", "--session", session), skus))
    assert [each.exit_code for each in answers] == [0, 0, 0]
    assert {each.document["shard"] for each in answers} == {
        shard for shard, _ in parse_session(first_line(session)).wrote
    }


@pytest.mark.parametrize("level", ["read-your-writes", "monotonic"])
def test_a_level_of_a_session_needs_one(shardwise: Shardwise, level: str) -> None:
    refused = shardwise.inside("account", "show", "rich", "--consistency", level)
    assert refused.exit_code == 2
    assert refused.document["error"]["field"] == "consistency"
    assert "--session" in refused.document["error"]["message"]


@pytest.mark.parametrize("content", ["hello", "s1.AAAA", "s9.AAAA\n", "\nhello", "s1.\N{SNOWMAN}"])
def test_a_file_that_holds_no_session_is_left_as_it_is(shardwise: Shardwise, tmp_path: Path, content: str) -> None:
    file = tmp_path / "notes.txt"
    file.write_text(content, encoding="utf-8")
    refused = shardwise.inside("product", "rename", "APPLE", "--name", "Pear", "--session", str(file))
    assert (refused.exit_code, refused.document["error"]["field"]) == (2, "session")
    assert file.read_text(encoding="utf-8") == content
    assert shardwise.inside("product", "show", "APPLE").document["name"] == "Apple"


def test_a_session_that_cannot_be_kept_is_refused_before_anything_is_done(shardwise: Shardwise, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for file in (tmp_path, tmp_path / "none" / "me", pipe):
        refused = shardwise.inside("product", "rename", "APPLE", "--name", "Pear", "--session", str(file))
        assert (refused.exit_code, refused.document["error"]["field"]) == (2, "session"), file
    assert shardwise.inside("product", "show", "APPLE").document["name"] == "Apple"


def test_products_are_listed_in_pages(shardwise: Shardwise) -> None:
    first = shardwise.inside("product", "list", "--limit", "1", "--consistency", "strong").document
    assert len(first["products"]) == 1
    second = shardwise.inside("product", "list", "--limit", "1", "--after", first["next"]).document
    assert second["products"][0]["sku"] > first["products"][0]["sku"]
    unknown = shardwise.inside("product", "show", "NOBODY-SELLS-IT")
    assert (unknown.exit_code, unknown.document["error"]["code"]) == (1, "unknown_sku")
