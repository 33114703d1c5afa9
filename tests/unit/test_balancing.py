"""Balancers are fair over candidates that come and go, and from the first pick of many processes."""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.balancing import WEIGHT_MAX, Balancer, Balancing, Candidate
from tests.support.points import UNHURRIED

PICKS = 10_000
A, B, C = (Candidate(name, weight) for name, weight in (("a", 1), ("b", 2), ("c", 3)))
STARTS = st.integers(0, 2**64)


def pick(balancer: Balancer, candidates: Sequence[Candidate]) -> str:
    with balancer.lease(candidates) as chosen:
        return chosen.name


def weight_of(balancing: Balancing, candidate: Candidate) -> int:
    return 1 if balancing is Balancing.ROUND_ROBIN else candidate.weight


def fair(balancing: Balancing, offers: Iterable[Sequence[Candidate]]) -> dict[str, float]:
    """What each should get: its share of every call at which it was offered."""
    shares: dict[str, float] = {}
    for offered in offers:
        total = sum(weight_of(balancing, each) for each in offered)
        for each in offered:
            shares[each.name] = shares.get(each.name, 0.0) + weight_of(balancing, each) / total
    return shares


# ── shares ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("balancing", "shares"),
    [
        (Balancing.ROUND_ROBIN, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}),
        (Balancing.WEIGHTED, {"a": 1 / 6, "b": 2 / 6, "c": 3 / 6}),
        (Balancing.LEAST_CONNECTIONS, {"a": 1 / 6, "b": 2 / 6, "c": 3 / 6}),
    ],
)
@pytest.mark.parametrize("start", range(6))
def test_each_gets_its_share(balancing: Balancing, shares: dict[str, float], start: int) -> None:
    balancer = Balancer(balancing, start)
    picks = Counter(pick(balancer, [A, B, C]) for _ in range(PICKS))
    assert {name: pytest.approx(PICKS * share, abs=2) for name, share in shares.items()} == picks


@pytest.mark.parametrize("balancing", Balancing)
@pytest.mark.parametrize("there", [(0.5, 0.5, 0.5), (0.9, 0.5, 0.2), (0.2, 0.99, 0.99), (1.0, 1.0, 0.01)])
def test_each_gets_its_share_of_the_calls_at_which_it_was_there(balancing: Balancing, there: tuple[float, ...]) -> None:
    chance = random.Random(7)
    balancer = Balancer(balancing, 3)
    offers: list[list[Candidate]] = []
    picks: Counter[str] = Counter()
    while len(offers) < PICKS:
        offered = [each for each, part in zip((A, B, C), there, strict=True) if chance.random() < part]
        if offered:
            offers.append(offered)
            picks[pick(balancer, offered)] += 1
    for name, share in fair(balancing, offers).items():
        assert picks[name] == pytest.approx(share, rel=0.03, abs=3)


@UNHURRIED
@given(st.sampled_from(Balancing), STARTS, st.lists(st.integers(1, 2**5 - 1), max_size=300), st.data())
def test_nobody_is_ever_more_than_a_few_turns_ahead_or_behind(
    balancing: Balancing, start: int, calls: list[int], data: st.DataObject
) -> None:
    weights = data.draw(st.lists(st.integers(1, 12), min_size=5, max_size=5))
    servers = [Candidate(name, weight) for name, weight in zip("abcde", weights, strict=True)]
    offers = [[server for place, server in enumerate(servers) if call >> place & 1] for call in calls]
    balancer = Balancer(balancing, start)
    picks: Counter[str] = Counter()
    for at, offered in enumerate(offers):
        picks[pick(balancer, offered)] += 1
        shares = fair(balancing, offers[: at + 1]) if at % 50 == 49 or at == len(offers) - 1 else {}
        for name, share in shares.items():
            assert abs(picks[name] - share) <= len(servers)


def test_one_that_comes_back_gets_its_turns_and_no_burst() -> None:
    balancer = Balancer(Balancing.ROUND_ROBIN, 0)
    for _ in range(1000):
        pick(balancer, [A, B])
    picks = Counter(pick(balancer, [A, B, C]) for _ in range(30))
    assert picks == {"a": 10, "b": 10, "c": 10}


@UNHURRIED
@given(STARTS)
def test_round_robin_goes_to_each_in_turn(start: int) -> None:
    balancer = Balancer(Balancing.ROUND_ROBIN, start)
    picks = [pick(balancer, [A, B, C]) for _ in range(30)]
    assert set(picks[:3]) == {"a", "b", "c"}
    assert picks == picks[:3] * 10


def test_weighted_is_smooth() -> None:
    servers = [Candidate("a", 5), Candidate("b"), Candidate("c")]
    balancer = Balancer(Balancing.WEIGHTED, 0)
    assert "".join(pick(balancer, servers) for _ in range(14)) == "aabacaa" * 2


@UNHURRIED
@given(STARTS, st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_weights_are_kept_in_every_round(start: int, weights: list[int]) -> None:
    servers = [Candidate(str(place), weight) for place, weight in enumerate(weights)]
    balancer = Balancer(Balancing.WEIGHTED, start)
    for _ in range(5):
        picks = Counter(pick(balancer, servers) for _ in range(sum(weights)))
        assert picks == {server.name: server.weight for server in servers}


# ── the start ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("balancing", Balancing)
def test_the_first_reads_of_many_processes_spread_by_weight(balancing: Balancing) -> None:
    firsts = Counter(pick(Balancer(balancing, start), [A, B, C]) for start in range(600))
    assert firsts == {each.name: pytest.approx(600 * share) for each, share in _shares(balancing)}


@pytest.mark.parametrize("balancing", Balancing)
def test_where_the_first_did_not_do_the_second_tries_spread_too(balancing: Balancing) -> None:
    seconds: Counter[str] = Counter()
    for start in range(900):
        balancer = Balancer(balancing, start)
        if pick(balancer, [A, B, C]) == "c":
            seconds[pick(balancer, [A, B])] += 1
    share = 1 / 2 if balancing is Balancing.ROUND_ROBIN else 2 / 3
    assert seconds["b"] == pytest.approx(seconds.total() * share, rel=0.01)


def _shares(balancing: Balancing) -> list[tuple[Candidate, float]]:
    total = sum(weight_of(balancing, each) for each in (A, B, C))
    return [(each, weight_of(balancing, each) / total) for each in (A, B, C)]


# ── least connections ───────────────────────────────────────────────────────────────────────────────────────


@UNHURRIED
@given(STARTS, st.lists(st.one_of(st.integers(1, 7), st.none()), max_size=100), st.randoms(use_true_random=False))
def test_least_connections_goes_where_the_fewest_are_at_work_for_its_weight(
    start: int, steps: list[int | None], chance: random.Random
) -> None:
    """A number: a read of those candidates begins. None: any read that is at work ends."""
    balancer = Balancer(Balancing.LEAST_CONNECTIONS, start)
    servers = (A, B, C)
    at_work: list[tuple[str, ExitStack]] = []
    for step in steps:
        if step is not None:
            offered = [server for place, server in enumerate(servers) if step >> place & 1]
            before = {server.name: balancer.in_use(server.name) / server.weight for server in offered}
            lease = ExitStack()
            chosen = lease.enter_context(balancer.lease(offered))
            assert before[chosen.name] == min(before.values())
            at_work.append((chosen.name, lease))
        elif at_work:
            at_work.pop(chance.randrange(len(at_work)))[1].close()
        counted = Counter(name for name, _ in at_work)
        assert {server.name: balancer.in_use(server.name) for server in servers} == {
            server.name: counted[server.name] for server in servers
        }
    for _, lease in at_work:
        lease.close()
    assert [balancer.in_use(server.name) for server in servers] == [0, 0, 0]


def served(balancing: Balancing, seconds: Mapping[str, float], clients: int, weights: Sequence[int]) -> Counter[str]:
    """How many of the reads each server took, while so many clients read one after the other all the time."""
    servers = [Candidate(name, weight) for name, weight in zip(seconds, weights, strict=True)]
    balancer = Balancer(balancing, 1)
    ends: list[tuple[float, int, ExitStack]] = []
    picks: Counter[str] = Counter()
    now = 0.0
    for number in range(PICKS):
        if len(ends) == clients:
            now, _, ended = heapq.heappop(ends)
            ended.close()
        lease = ExitStack()
        chosen = lease.enter_context(balancer.lease(servers)).name
        picks[chosen] += 1
        heapq.heappush(ends, (now + seconds[chosen], number, lease))
    for _, _, lease in ends:
        lease.close()
    return picks


def test_least_connections_spares_the_slow_one() -> None:
    slow = {"a": 10.0, "b": 1.0, "c": 1.0}
    picks = served(Balancing.LEAST_CONNECTIONS, slow, clients=12, weights=(1, 1, 1))
    assert picks["a"] == pytest.approx(PICKS / 21, rel=0.1)
    assert picks["b"] == pytest.approx(picks["c"], rel=0.03)
    assert served(Balancing.ROUND_ROBIN, slow, clients=12, weights=(1, 1, 1))["a"] == pytest.approx(PICKS / 3, rel=0.03)


def test_least_connections_keeps_to_weights_where_all_are_equally_fast() -> None:
    equal = {"a": 1.0, "b": 1.0, "c": 1.0}
    picks = served(Balancing.LEAST_CONNECTIONS, equal, clients=12, weights=(1, 2, 3))
    assert picks == {
        name: pytest.approx(PICKS * share, rel=0.03) for name, share in zip("abc", (1 / 6, 1 / 3, 1 / 2), strict=True)
    }


@pytest.mark.parametrize("balancing", Balancing)
async def test_reads_that_run_at_the_same_time_are_all_counted(balancing: Balancing) -> None:
    balancer = Balancer(balancing, 5)
    picks: Counter[str] = Counter()
    most = 0

    async def read(number: int) -> None:
        nonlocal most
        with balancer.lease([A, B, C]) as chosen:
            picks[chosen.name] += 1
            most = max(most, sum(balancer.in_use(each.name) for each in (A, B, C)))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            if number % 5 == 0:
                raise TimeoutError

    ended = await asyncio.gather(*(read(number) for number in range(600)), return_exceptions=True)
    assert sum(isinstance(each, TimeoutError) for each in ended) == 120
    assert picks.total() == 600
    assert most > 500
    assert [balancer.in_use(each.name) for each in (A, B, C)] == [0, 0, 0]
    if balancing is not Balancing.LEAST_CONNECTIONS:
        assert picks == {each.name: pytest.approx(600 * share) for each, share in _shares(balancing)}


# ── what cannot be ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("balancing", Balancing)
def test_of_nothing_nothing_can_be_chosen(balancing: Balancing) -> None:
    with pytest.raises(ValueError, match="nothing to choose from"):
        pick(Balancer(balancing, 0), [])


@pytest.mark.parametrize("weight", [0, -1, WEIGHT_MAX + 1])
def test_a_weight_is_a_small_number(weight: int) -> None:
    with pytest.raises(ValueError, match="expected a weight"):
        Candidate("a", weight)
