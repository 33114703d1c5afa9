"""What a bench of reads makes of its figures, and what it refuses before it connects to anything."""

from __future__ import annotations

import pytest

from domain.balancing import Balancing, fair_shares
from domain.consistency import Level
from domain.errors import InvalidInput
from domain.replicas import ReplicaAddress
from shards.connections.cluster import Cluster
from shardwise.operations.reads_bench import CONCURRENCY_MAX, READS_MAX, ReadsBenchOptions, spread_of

NOWHERE = "postgresql://app:geheim@127.0.0.1:1/nothing"
WEIGHTS = {"shard-1-replica-1": 1, "shard-1-replica-2": 3}
TAKEN = {"shard-1": [0.5], "shard-1-replica-1": [0.001, 0.003], "shard-1-replica-2": [0.002], "shard-2": [9.0]}


def cluster_with(weights: dict[str, int]) -> Cluster:
    replicas = {"shard-1": [ReplicaAddress(NOWHERE, weight) for weight in weights.values()]}
    return Cluster({"shard-1": NOWHERE, "shard-2": NOWHERE}, NOWHERE, NOWHERE, replicas=replicas)


def test_fair_is_an_equal_share_or_one_by_weight_and_unknown_with_least_connections() -> None:
    assert fair_shares(Balancing.ROUND_ROBIN, WEIGHTS) == {"shard-1-replica-1": 0.5, "shard-1-replica-2": 0.5}
    assert fair_shares(Balancing.WEIGHTED, WEIGHTS) == {"shard-1-replica-1": 0.25, "shard-1-replica-2": 0.75}
    assert fair_shares(Balancing.LEAST_CONNECTIONS, WEIGHTS) is None


def test_the_spread_has_the_primary_first_and_each_share_is_one_of_its_shard() -> None:
    shards = cluster_with(WEIGHTS).shards
    spread = list(spread_of(shards["shard-1"], Balancing.WEIGHTED, Level.EVENTUAL, TAKEN))
    assert [each.server for each in spread] == ["shard-1", *WEIGHTS]
    assert [each.weight for each in spread] == [None, 1, 3]
    assert [(each.reads, each.share, each.expected_share) for each in spread] == [
        (1, 0.25, 0.0),
        (2, 0.5, 0.25),
        (1, 0.25, 0.75),
    ]
    assert [(each.p50_ms, each.p99_ms) for each in spread] == [(500.0, 500.0), (1.0, 3.0), (2.0, 2.0)]


def test_what_nothing_was_read_from_has_no_times() -> None:
    [primary, *_] = spread_of(cluster_with(WEIGHTS).shards["shard-1"], Balancing.ROUND_ROBIN, Level.EVENTUAL, {})
    assert (primary.reads, primary.share, primary.p50_ms, primary.p99_ms) == (0, 0.0, None, None)


@pytest.mark.parametrize(
    ("shard", "level", "balancing", "expected"),
    [
        ("shard-1", Level.STRONG, Balancing.WEIGHTED, [1.0, 0.0, 0.0]),
        ("shard-1", Level.MONOTONIC, Balancing.LEAST_CONNECTIONS, [0.0, None, None]),
        ("shard-2", Level.EVENTUAL, Balancing.LEAST_CONNECTIONS, [1.0]),
    ],
    ids=["strong reads the primary", "nobody knows beforehand", "without replicas it is the primary"],
)
def test_what_is_expected(shard: str, level: Level, balancing: Balancing, expected: list[float | None]) -> None:
    spread = spread_of(cluster_with(WEIGHTS).shards[shard], balancing, level, TAKEN)
    assert [each.expected_share for each in spread] == expected


@pytest.mark.parametrize(
    ("reads", "concurrency", "field"),
    [(0, 1, "reads"), (READS_MAX + 1, 1, "reads"), (1, 0, "concurrency"), (1, CONCURRENCY_MAX + 1, "concurrency")],
)
def test_numbers_out_of_bounds_are_refused(reads: int, concurrency: int, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        ReadsBenchOptions(reads, concurrency, Level.EVENTUAL)
    assert refused.value.field == field
