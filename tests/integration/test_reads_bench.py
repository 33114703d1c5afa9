"""`reads bench` on real shards without replicas. How replicas share the reads is shown by `make bench-reads`."""

from __future__ import annotations

import pytest

from domain.catalogue import Customer
from domain.consistency import Level
from domain.errors import InvalidInput, Refused
from domain.money import Money
from shards.catalogue.imports import import_customers
from shards.connections.cluster import Cluster
from shards.reading.shard_reads import ReadSettings
from shards.routing.router import Router
from shardwise.operations.reads_bench import ReadsBenchOptions, bench_reads
from tests.support.world import RANGES, World


async def test_every_read_is_counted_at_the_server_that_answered_it(world: World) -> None:
    for near in RANGES:
        await world.product(near)
    reported: list[tuple[str, int, int | None]] = []
    for level in Level:
        options = ReadsBenchOptions(120, 4, level)
        found = await bench_reads(world.router, ReadSettings(), options, lambda *report: reported.append(report))
        assert (found.rows, found.consistency, found.reads) == ("products", level, 120)
        assert [each.server for each in found.servers] == sorted(world.cluster.shards)
        assert sum(each.reads for each in found.servers) == 120
        assert all(each.reads and each.share == each.expected_share == 1.0 for each in found.servers)
    assert reported == [("reads", 100, 120)] * len(Level)
    only = await bench_reads(world.router, ReadSettings(), ReadsBenchOptions(3, 1, level, "shard-2"), print)
    assert [(each.server, each.reads) for each in only.servers] == [("shard-2", 3)]
    with pytest.raises(InvalidInput, match="shard: expected one of shard-1, shard-2, shard-3, got 'shard-9'"):
        await bench_reads(world.router, ReadSettings(), ReadsBenchOptions(3, 1, level, "shard-9"), print)


async def test_without_products_accounts_are_read_and_without_both_nothing(cluster: Cluster) -> None:
    router = Router(cluster)
    with pytest.raises(Refused) as refused:
        await bench_reads(router, ReadSettings(), ReadsBenchOptions(3, 1, Level.EVENTUAL), print)
    assert refused.value.code == "nothing_to_read"
    await import_customers(router, [Customer("ada", "Ada", None, Money(100, "USD"))])
    found = await bench_reads(router, ReadSettings(), ReadsBenchOptions(3, 1, Level.EVENTUAL), print)
    assert (found.rows, found.keys, sum(each.reads for each in found.servers)) == ("accounts", 1, 3)
