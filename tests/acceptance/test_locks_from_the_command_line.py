"""What a user of the command line sees of leases. The stack is the whole session's: these names are ours alone."""

from __future__ import annotations

import pytest

from tests.support.command import Shardwise


def test_a_lease_is_taken_shown_renewed_and_given_back(shardwise: Shardwise) -> None:
    taken = shardwise.inside("lock", "acquire", "acc-report", "--holder", "one", "--seconds", "600")
    assert (taken.exit_code, taken.document["token"], taken.document["mode"]) == (0, 1, "exclusive")
    assert shardwise.inside("lock", "show", "acc-report").document["holders"] == [taken.document]
    held = shardwise.inside("lock", "acquire", "acc-report", "--wait", "0.1")
    assert (held.exit_code, held.document["error"]["code"]) == (1, "lease_held")
    assert "held by one until" in held.document["error"]["message"]
    for command in ("renew", "release"):
        answer = shardwise.inside("lock", command, "acc-report", "--holder", "two", "--token", "1")
        assert (answer.exit_code, answer.document["error"]["code"]) == (1, "lease_lost"), command
    mine = ("acc-report", "--holder", "one", "--token", "1")
    assert shardwise.inside("lock", "renew", *mine).document["token"] == 1
    for _ in range(2):
        released = shardwise.inside("lock", "release", *mine)
        assert (released.exit_code, released.document["holders"]) == (0, [])
    again = shardwise.inside("lock", "acquire", "acc-report", "--mode", "shared", "--seconds", "1")
    assert (again.exit_code, again.document["token"]) == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("acquire", "a b"), "name"),
        (("acquire", "shardwise/staging"), "name"),
        (("acquire", "ok", "--holder", ""), "holder"),
        (("acquire", "ok", "--seconds", "0"), "seconds"),
        (("acquire", "ok", "--seconds", "nan"), "seconds"),
        (("renew", "ok", "--holder", "one", "--token", "0"), "token"),
        (("release", "ok", "--holder", "a/b", "--token", "1"), "holder"),
        (("show", "shardwise/nothing"), "name"),
    ],
)
def test_bad_input_is_refused_by_its_name(shardwise: Shardwise, arguments: tuple[str, ...], field: str) -> None:
    answer = shardwise.inside("lock", *arguments)
    assert (answer.exit_code, answer.document["error"]["field"]) == (2, field)


def test_a_name_that_nobody_has_had_is_free(shardwise: Shardwise) -> None:
    free = shardwise.inside("lock", "show", "acc-nobody")
    assert free.document == {"name": "acc-nobody", "token": 0, "holders": [], "waiters": []}
