"""Who is granted a lease: in the order of arrival, never two that bar each other, and with tokens that only grow."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput, Refused
from domain.leases import (
    LAPSES_AFTER,
    Granted,
    Holder,
    InstallationLease,
    LeaseRow,
    Mode,
    MustWait,
    Waiter,
    Wanted,
    check_any_lease_name,
    check_lease_name,
    check_lease_seconds,
    check_wanted,
    conflict,
    decide,
    is_of_the_installation,
    token_after_a_start,
)
from domain.limits import LEASE_WAITERS_MAX

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
LASTS, WAITS = timedelta(seconds=30), timedelta(seconds=60)


def asked(lease: LeaseRow, wanted: Wanted, now: datetime) -> tuple[LeaseRow, Granted | MustWait]:
    """What `shards.leases.lease_rows` makes of the rows."""
    answer = decide(lease, wanted, now)
    waiters = [each for each in lease.live_waiters(now) if each.holder != wanted.holder]
    if isinstance(answer, Granted):
        if not answer.is_new:
            return lease, answer
        holders = [*lease.live_holders(now), Holder(wanted.holder, wanted.mode, answer.token, now + LASTS)]
        return LeaseRow(answer.token, wanted.mode, lease.tickets, holders, waiters), answer
    if answer.ticket is None:
        return lease, answer
    known = next((each for each in lease.live_waiters(now) if each.holder == wanted.holder), None)
    gives_up = known.gives_up_at if known else now + WAITS
    waiters.append(Waiter(wanted.holder, wanted.mode, answer.ticket, gives_up, now + LAPSES_AFTER))
    return replace(lease, tickets=max(lease.tickets, answer.ticket), waiters=waiters), answer


def wanted(holder: str, mode: Mode = Mode.EXCLUSIVE, wait: float = 60) -> Wanted:
    return Wanted(holder, mode, 30, wait)


HOLDERS = st.sampled_from("abcdef")
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), HOLDERS, st.sampled_from(Mode)),
        st.tuples(st.just("release"), HOLDERS, st.none()),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 4, 6, 31]), st.none()),
    ),
    max_size=60,
)


@given(MOVES)
def test_holders_never_bar_each_other_tokens_only_grow_and_nobody_overtakes(
    moves: list[tuple[str, object, Mode]],
) -> None:
    lease, now, exclusive_tokens = LeaseRow(), NOW, []
    for move, about, mode in moves:
        if move == "pass":
            assert isinstance(about, int | float)
            now += timedelta(seconds=about)
        elif move == "release":
            lease = replace(lease, holders=[each for each in lease.holders if each.holder != about])
        else:
            before, queue = lease, {each.holder: each for each in lease.live_waiters(now)}
            own_mode = next((x.mode for x in [*lease.live_holders(now), *queue.values()] if x.holder == about), mode)
            if own_mode is not mode:
                with pytest.raises(Refused, match=str(own_mode)):
                    decide(lease, wanted(str(about), mode), now)
                continue
            lease, answer = asked(lease, wanted(str(about), mode), now)
            if isinstance(answer, Granted) and answer.is_new:
                assert lease.token >= before.token
                if mode is Mode.EXCLUSIVE:
                    assert lease.token == before.token + 1
                    exclusive_tokens.append(lease.token)
                own = queue[str(about)].ticket if about in queue else lease.tickets + 1
                assert not [x for x in queue.values() if x.ticket < own and conflict(x.mode, mode)]
        live = lease.live_holders(now)
        assert len(live) <= 1 or {each.mode for each in live} == {Mode.SHARED}
        assert len({each.token for each in live}) <= 1
    assert exclusive_tokens == sorted(set(exclusive_tokens))


def test_an_exclusive_waiter_is_not_starved_by_sharers() -> None:
    lease, first = asked(LeaseRow(), wanted("reader-1", Mode.SHARED), NOW)
    assert first == Granted(1)
    lease, writer = asked(lease, wanted("writer"), NOW)
    assert isinstance(writer, MustWait)
    lease, late = asked(lease, wanted("reader-2", Mode.SHARED), NOW)
    assert isinstance(late, MustWait)
    lease = replace(lease, holders=[])
    assert isinstance(decide(lease, wanted("reader-2", Mode.SHARED), NOW), MustWait)
    lease, answer = asked(lease, wanted("writer"), NOW)
    assert answer == Granted(2)


def test_sharers_have_one_token_and_an_exclusive_grant_fences_them_out() -> None:
    lease = LeaseRow()
    tokens = []
    for holder, mode in [("a", Mode.SHARED), ("b", Mode.SHARED), ("c", Mode.EXCLUSIVE), ("d", Mode.SHARED)]:
        if mode is Mode.EXCLUSIVE or lease.mode is Mode.EXCLUSIVE:
            lease = replace(lease, holders=[])
        lease, answer = asked(lease, wanted(holder, mode), NOW)
        assert isinstance(answer, Granted)
        tokens.append(answer.token)
    assert tokens == [1, 1, 2, 3]


def test_a_waiter_that_is_silent_or_whose_time_is_over_bars_nobody() -> None:
    lease, _ = asked(LeaseRow(), wanted("a"), NOW)
    lease, _ = asked(lease, wanted("dead"), NOW)
    assert isinstance(decide(lease, wanted("c"), NOW + LASTS - timedelta(seconds=1)), MustWait)
    later = NOW + LASTS
    assert decide(lease, wanted("c"), later) == Granted(2)
    polled = replace(lease, waiters=[replace(lease.waiters[0], lapses_at=later + LAPSES_AFTER)])
    assert isinstance(decide(polled, wanted("c"), later), MustWait)
    assert decide(polled, wanted("c"), NOW + WAITS) == Granted(2)


def test_a_repeat_gets_the_same_grant_and_the_other_mode_is_refused() -> None:
    lease, _ = asked(LeaseRow(), wanted("a"), NOW)
    assert decide(lease, wanted("a"), NOW) == Granted(1, is_new=False)
    with pytest.raises(Refused, match="holds it exclusive") as refused:
        decide(lease, wanted("a", Mode.SHARED), NOW)
    assert refused.value.code == "lease_mode"


def test_who_does_not_wait_takes_no_place_and_a_queue_has_an_end() -> None:
    lease, _ = asked(LeaseRow(), wanted("a"), NOW)
    answer = decide(lease, wanted("b", wait=0), NOW)
    assert isinstance(answer, MustWait)
    assert answer.ticket is None
    assert "held by a until 12:00:30 UTC" in answer.why
    queue = [Waiter(f"w{n}", Mode.EXCLUSIVE, n, NOW + WAITS, NOW + WAITS) for n in range(1, LEASE_WAITERS_MAX + 1)]
    with pytest.raises(Refused) as refused:
        decide(replace(lease, waiters=queue, tickets=len(queue)), wanted("b"), NOW)
    assert refused.value.code == "lease_queue_full"


def test_a_server_that_was_started_again_goes_on_above_everything_that_is_known() -> None:
    milliseconds = 1769860800000
    assert token_after_a_start(0, [0, 0, 0], NOW) == 0
    assert token_after_a_start(7, [0, 9, 3], NOW) == milliseconds
    assert token_after_a_start(0, [1], NOW) == milliseconds
    assert token_after_a_start(7, [0, milliseconds + 5], NOW) == milliseconds + 5
    assert token_after_a_start(milliseconds + 7, [], NOW) == milliseconds + 7


@pytest.mark.parametrize("name", ["", "a b", "shardwise/staging", "x" * 101, 3, None, "ä"])
def test_a_users_name_has_the_form_of_an_id(name: object) -> None:
    with pytest.raises(InvalidInput, match="name: expected 1 to 100"):
        check_lease_name(name)
    assert check_lease_name("nightly-report") == "nightly-report"


def test_the_leases_of_the_installation_can_be_looked_at() -> None:
    for each in InstallationLease:
        assert check_any_lease_name(each.value) == each
        assert is_of_the_installation(each)
    assert not is_of_the_installation("shardwise-staging")
    with pytest.raises(InvalidInput):
        check_any_lease_name("shardwise/other")


@pytest.mark.parametrize("seconds", [0, 0.9, -1, 86_401, float("nan"), float("inf"), "30", True, None])
def test_a_lease_lasts_a_second_to_a_day(seconds: float) -> None:
    with pytest.raises(InvalidInput, match="seconds: expected 1 to 86400 seconds"):
        check_lease_seconds(seconds)


def test_what_is_asked_for_is_checked() -> None:
    assert check_wanted("me", "shared", 30, 5) == Wanted("me", Mode.SHARED, 30, 5)
    for holder, mode, seconds, wait, field in [
        ("a b", "shared", 30, 0, "holder"),
        ("me", "both", 30, 0, "mode"),
        ("me", "shared", 0, 0, "seconds"),
        ("me", "shared", 30, -1, "wait"),
    ]:
        with pytest.raises(InvalidInput) as refused:
            check_wanted(holder, mode, seconds, wait)
        assert refused.value.field == field
