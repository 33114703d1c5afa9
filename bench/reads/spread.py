"""How replicas share the reads, as the commands of an installation with weights show it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from bench.reads.documents import Share, Spread
from bench.reads.levels import say
from bench.reads.slow_server import slowed
from domain.balancing import Balancing, fair_shares
from domain.replicas import replica_name
from shardwise import Shardwise
from stack.settings import Databases

SHARD = "shard-1"
WEIGHTS = (1, 2, 3)
EQUAL = (1, 1, 1)
SLOW_SECONDS = 0.02
CONCURRENCY = 8
PROCESSES_AT_ONCE = 4


async def measure_spread(at: Databases, reads: int) -> list[Spread]:
    """Many reads of one process. The last time one replica is slow."""
    found = []
    for balancing, weights in (
        (Balancing.ROUND_ROBIN, WEIGHTS),
        (Balancing.WEIGHTED, WEIGHTS),
        (Balancing.LEAST_CONNECTIONS, EQUAL),
    ):
        document = await _bench(own_servers(at, weights), balancing, reads)
        found.append(_spread(document, balancing, None))
    replica = urlsplit(at.replicas[SHARD][0].dsn)
    async with slowed(str(replica.hostname), int(replica.port or 0), SLOW_SECONDS) as port:
        settings = own_servers(at, EQUAL, at.replicas[SHARD][0].dsn.replace(f":{replica.port}/", f":{port}/"))
        for balancing in (Balancing.ROUND_ROBIN, Balancing.LEAST_CONNECTIONS):
            document = await _bench(settings, balancing, reads)
            found.append(_spread(document, balancing, replica_name(SHARD, 1)))
    return found


async def measure_processes(app: Shardwise, at: Databases, skus: Sequence[str], processes: int) -> list[Spread]:
    """One process for each read, as in a shell."""
    here = [sku for sku in skus if (await app.catalogue.product(sku, "strong")).shard == SHARD]
    found = []
    for balancing, weights in ((Balancing.ROUND_ROBIN, EQUAL), (Balancing.WEIGHTED, WEIGHTS)):
        settings = {**own_servers(at, weights), "SHARDWISE_BALANCING": balancing}
        gate, servers = asyncio.Semaphore(PROCESSES_AT_ONCE), Counter[str]()

        async def one(number: int, gate: asyncio.Semaphore, servers: Counter[str], settings: Mapping[str, str]) -> None:
            async with gate:
                document = await _command(settings, "product", "show", here[number % len(here)])
            servers.update(each["server"] for each in document["read"]["servers"])

        await asyncio.gather(*(one(number, gate, servers, settings) for number in range(processes)))
        named = {replica_name(SHARD, number): weight for number, weight in enumerate(weights, 1)}
        what = f"{processes} processes, {balancing}"
        fair = fair_shares(balancing, named) or {}
        shares = [
            Share(server=name, weight=weight, reads=servers[name], share=servers[name] / processes, expected=fair[name])
            for name, weight in named.items()
        ]
        say(f"{what}: {', '.join(f'{each.server} {each.reads}' for each in shares)}")
        found.append(Spread(what=what, balancing=balancing, reads=processes, slowed=None, shares=shares))
    return found


def own_servers(at: Databases, weights: Sequence[int], first: str | None = None) -> dict[str, str]:
    """The embedded stack's servers as if they were somebody's own: only those can have weights. `first`: another
    address of the first replica."""
    addresses = [replica.dsn for replica in at.replicas[SHARD]]
    addresses[0] = first or addresses[0]
    replicas = [{"dsn": dsn, "weight": weight} for dsn, weight in zip(addresses, weights, strict=True)]
    return {
        "SHARDWISE_SHARDS": json.dumps(at.shards),
        "SHARDWISE_REPLICAS": json.dumps({SHARD: replicas}),
        "SHARDWISE_CATALOG_DSN": at.catalog,
        "SHARDWISE_READ_MODEL_DSN": at.read_model,
    }


async def _bench(settings: Mapping[str, str], balancing: Balancing, reads: int) -> dict[str, Any]:
    options = ("--reads", str(reads), "--concurrency", str(CONCURRENCY), "--shard", SHARD, "--balancing", balancing)
    return await _command(settings, "reads", "bench", *options)


def _spread(document: Mapping[str, Any], balancing: Balancing, slow: str | None) -> Spread:
    shares = [
        Share(
            server=each["server"],
            weight=each["weight"],
            reads=each["reads"],
            share=each["share"],
            expected=each["expected_share"],
        )
        for each in document["servers"]
        if each["weight"] is not None
    ]
    what = f"{document['reads']:,} reads in one process, {balancing}"
    if slow is not None:
        what += f", {slow} slowed by {SLOW_SECONDS * 1000:.0f} ms a statement"
    say(f"{what}: {', '.join(f'{each.server} {each.share:.1%}' for each in shares)}")
    return Spread(what=what, balancing=balancing, reads=document["reads"], slowed=slow, shares=shares)


async def _command(settings: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    """The document that a command prints, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "cli", *arguments, "--json"),
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    stdout, _ = await process.communicate()
    document: dict[str, Any] = json.loads(stdout)
    assert process.returncode == 0, document
    return document
