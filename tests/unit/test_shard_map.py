"""Which shard owns which key: the same answer in every process, for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.shard_map import BUCKETS, Keyspace, Route, ShardMap, bucket_of, cut_ranges, spread_buckets

SHARDS = ("shard-1", "shard-2", "shard-3")

# Written down once. A change here means that rows already stored are looked for on other shards.
GOLDEN_BUCKETS = {
    "": 692,
    "0": 3957,
    "ALFKI": 3643,
    "ANATR": 1800,
    "BIG-09999": 2104,
    "customer.with_every-sign": 1624,
    "order-10248": 2947,
    "merchant.USD": 3344,
    "Z" * 100: 1738,
    "é": 2351,
}

keys = st.text(st.characters(min_codepoint=45, max_codepoint=122), min_size=1, max_size=20)
shard_names = st.lists(st.text("abc-123", min_size=1, max_size=6), min_size=1, max_size=9, unique=True)


def shard_map(
    ranges: tuple[tuple[str, str], ...] = (("", "shard-1"), ("M", "shard-2"), ("T", "shard-3")),
    pins: dict[str, str] | None = None,
) -> ShardMap:
    return ShardMap(7, spread_buckets(SHARDS), ranges, pins or {})


@pytest.mark.parametrize(("key", "bucket"), GOLDEN_BUCKETS.items())
def test_a_key_stays_in_its_bucket_for_ever(key: str, bucket: int) -> None:
    assert bucket_of(key) == bucket


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_a_key_has_the_same_bucket_in_every_process(seed: str) -> None:
    program = f"from domain.shard_map import bucket_of; print([bucket_of(key) for key in {list(GOLDEN_BUCKETS)!r}])"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": seed},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == str(list(GOLDEN_BUCKETS.values()))


@given(keys)
def test_every_key_has_a_bucket(key: str) -> None:
    assert 0 <= bucket_of(key) < BUCKETS


def test_keys_that_look_alike_spread_evenly() -> None:
    buckets = spread_buckets(SHARDS)
    counts = Counter(buckets[bucket_of(f"CUSTOMER-{number:06}")] for number in range(9_000))
    assert set(counts) == set(SHARDS)
    assert max(counts.values()) - min(counts.values()) < 300


@given(shard_names)
def test_the_first_map_gives_every_shard_an_equal_contiguous_part(shards: list[str]) -> None:
    buckets = spread_buckets(shards)
    assert len(buckets) == BUCKETS
    assert list(dict.fromkeys(buckets)) == shards
    sizes = Counter(buckets).values()
    assert max(sizes) - min(sizes) <= 1
    assert buckets == sorted(buckets, key=shards.index)


@given(keys)
def test_a_customer_its_account_and_its_order_id_go_by_the_hash(key: str) -> None:
    bucket = bucket_of(key)
    route = Route(spread_buckets(SHARDS)[bucket], Keyspace.BUCKET, str(bucket), 7)
    assert shard_map().of_customer(key) == shard_map().of_account(key) == shard_map().of_order_id(key) == route


def test_a_pinned_account_is_on_the_shard_of_its_pin_and_moves_alone() -> None:
    pinned = shard_map(pins={"merchant.USD": "shard-2"})
    assert pinned.of_account("merchant.USD") == Route("shard-2", Keyspace.PIN, "merchant.USD", 7)
    assert pinned.of_account("merchant.EUR").keyspace is Keyspace.BUCKET


@pytest.mark.parametrize(
    ("sku", "lower_bound", "shard"),
    [
        ("A", "", "shard-1"),
        ("LZZZ", "", "shard-1"),
        ("M", "M", "shard-2"),
        ("M0", "M", "shard-2"),
        ("SZ", "M", "shard-2"),
        ("T", "T", "shard-3"),
        ("zebra", "T", "shard-3"),
    ],
)
def test_a_sku_lies_in_the_range_that_begins_at_or_before_it(sku: str, lower_bound: str, shard: str) -> None:
    assert shard_map().of_sku(sku) == Route(shard, Keyspace.SKU_RANGE, lower_bound, 7)


@given(st.sets(keys, min_size=1, max_size=60), shard_names)
def test_ranges_cut_at_real_skus_spread_them_evenly(skus: set[str], shards: list[str]) -> None:
    ranges = cut_ranges(skus, shards)
    of = ShardMap(1, spread_buckets(shards), ranges, {}).of_sku
    counts = Counter(of(sku).shard for sku in skus)
    assert len(counts) == min(len(skus), len(shards))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_ranges_do_not_depend_on_the_order_or_on_repeats() -> None:
    skus = [f"NW-{number:03}" for number in range(77)]
    assert cut_ranges([*reversed(skus), *skus], SHARDS) == cut_ranges(skus, SHARDS)
    assert cut_ranges(skus, SHARDS) == [("", "shard-1"), ("NW-025", "shard-2"), ("NW-051", "shard-3")]


def test_no_skus_are_one_range() -> None:
    assert cut_ranges([], SHARDS) == [("", "shard-1")]


@pytest.mark.parametrize(
    "ranges", [(), (("A", "shard-1"),), (("", "shard-1"), ("", "shard-2")), (("", "x"), ("T", "y"), ("M", "z"))]
)
def test_ranges_that_leave_a_gap_or_overlap_are_no_map(ranges: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(ValueError, match="ranges must begin"):
        shard_map(ranges)


def test_a_map_of_too_few_buckets_is_no_map() -> None:
    with pytest.raises(ValueError, match="4096 buckets"):
        ShardMap(1, ["shard-1"] * (BUCKETS - 1), [("", "shard-1")], {})
