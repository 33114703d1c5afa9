"""Forks, points and sessions as tests draw them."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from domain.consistency import NUMBER_MAX, Point, Points, Session, points_of

# How long an example takes says nothing here: the tests share their cores with servers.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

FORK_A, FORK_B, FORK_C = (f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "abc")
FORK_IDS = st.sampled_from([FORK_A, FORK_B, FORK_C])
FORK_IDS_AND_NONE = FORK_IDS | st.just("")


@st.composite
def points(draw: st.DrawFn, forks: st.SearchStrategy[str] = FORK_IDS_AND_NONE, upto: int = NUMBER_MAX) -> Point:
    number = st.integers(0, upto)
    unstamped = draw(number)
    return Point(
        draw(forks), draw(number), draw(number), draw(number), draw(number), unstamped, draw(st.integers(0, unstamped))
    )


def points_by_shard(upto: int = NUMBER_MAX, shards_max: int = 6) -> st.SearchStrategy[Points]:
    names = st.text("abcXYZ019._-", min_size=1, max_size=63) | st.sampled_from(["shard-1", "shard-2"])
    return st.lists(st.tuples(names, points(upto=upto)), max_size=shards_max).map(points_of)


def sessions() -> st.SearchStrategy[Session]:
    return st.builds(Session, points_by_shard(), points_by_shard(), st.integers(0, NUMBER_MAX))
