"""The accounts of one contrast: its own, so that it touches nobody's money, and each on a shard that was chosen."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Self

from domain.catalogue import Customer
from domain.errors import Refused
from domain.money import Money
from domain.shard_map import ShardMap
from shards.catalogue.imports import import_customers
from shards.routing.router import Router

CURRENCY = "USD"
OPENING = Money.parse("1000000.00", CURRENCY)


@dataclass(frozen=True, slots=True)
class Cast:
    """`free` accounts by shard, each for whoever takes it."""

    run_id: str
    free: dict[str, list[str]]

    @classmethod
    def chosen(cls, shard_map: ShardMap, shards: list[str], run_id: str, per_shard: int) -> Self:
        """Ids that hash to `per_shard` accounts on each of these shards."""
        free: dict[str, list[str]] = {shard: [] for shard in shards}
        numbers = itertools.count(1)
        while any(len(accounts) < per_shard for accounts in free.values()):
            account_id = f"contrast-{run_id}-{next(numbers)}"
            accounts = free.get(shard_map.of_account(account_id).shard, [])
            if len(accounts) < per_shard:
                accounts.append(account_id)
        return cls(run_id, free)

    def take(self, shard: str, count: int = 1) -> list[str]:
        """Accounts on `shard` that nobody else gets."""
        return [self.free[shard].pop(0) for _ in range(count)]

    @property
    def shards(self) -> list[str]:
        return list(self.free)


async def hire(router: Router, run_id: str, per_shard: int) -> Cast:
    """Opens the accounts, each with `OPENING` out of its shard's equity, as `import customers` does. They stay.

    `Refused` with `one_shard` where there is nothing across which money could move.
    """
    shard_map = await router.map()
    # A shard that owns no bucket, as one that was added lately, can hold none of them.
    shards = sorted(set(shard_map.buckets))
    if len(shards) < 2:
        raise Refused("one_shard", "all accounts lie on one shard: there is nothing to contrast")
    cast = Cast.chosen(shard_map, shards, run_id, per_shard)
    everybody = [account_id for accounts in cast.free.values() for account_id in accounts]
    await import_customers(router, [Customer(each, f"Contrast {run_id}", None, OPENING) for each in everybody])
    return cast
