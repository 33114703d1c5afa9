"""The accounts of one contrast: opened for it, so that it touches nobody's money, an equal number on every shard."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Self

from domain.catalogue import Customer
from domain.errors import Refused
from domain.identifiers import contrast_id
from domain.money import Money
from domain.shard_map import ShardMap
from shards.catalogue.imports import import_customers
from shards.routing.router import Router

CURRENCY = "USD"
OPENING = Money.parse("1000000.00", CURRENCY)


@dataclass(frozen=True, slots=True)
class ContrastAccounts:
    """`free`: by shard, the accounts that no measurement has taken yet."""

    run_id: str
    free: dict[str, list[str]]

    @classmethod
    def chosen(cls, shard_map: ShardMap, shards: list[str], run_id: str, per_shard: int) -> Self:
        """Ids that hash to `per_shard` accounts on each of these shards."""
        free: dict[str, list[str]] = {shard: [] for shard in shards}
        numbers = itertools.count(1)
        while any(len(accounts) < per_shard for accounts in free.values()):
            account_id = contrast_id(f"{run_id}-{next(numbers)}")
            accounts = free.get(shard_map.of_account(account_id).shard, [])
            if len(accounts) < per_shard:
                accounts.append(account_id)
        return cls(run_id, free)

    def take(self, shard: str, count: int = 1) -> list[str]:
        """Accounts on `shard`, each given out once."""
        return [self.free[shard].pop(0) for _ in range(count)]

    @property
    def shards(self) -> list[str]:
        return list(self.free)


async def open_accounts(router: Router, run_id: str, per_shard: int) -> ContrastAccounts:
    """Opens the accounts, each with `OPENING` out of its shard's equity, as `import customers` does. They stay.

    `Refused` with `one_shard` if there is no second shard to which money could move.
    """
    shard_map = await router.map()
    # A shard that owns no bucket, such as one that was added lately, can hold none of them.
    shards = sorted(set(shard_map.buckets))
    if len(shards) < 2:
        raise Refused("one_shard", "all accounts are on one shard: there is nothing to contrast")
    accounts = ContrastAccounts.chosen(shard_map, shards, run_id, per_shard)
    ids = [account_id for on_shard in accounts.free.values() for account_id in on_shard]
    customers = [Customer(account_id, f"Contrast {run_id}", None, OPENING) for account_id in ids]
    await import_customers(router, customers, for_contrast=True)
    return accounts
