"""Which shard owns which key: hash, range and directory sharding as three users of one map.

| keyspace | strategy | keys | slot (what moves between shards as one) |
| --- | --- | --- | --- |
| bucket | hash | customers with their accounts and orders; order ids | one of 4096 buckets |
| sku_range | range | SKUs and their stock | a range, named by its lower bound |
| pin | directory | merchants' accounts | the account itself |
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b

from domain.errors import StaleRoute

BUCKETS = 4096


class Keyspace(StrEnum):
    BUCKET = "bucket"
    SKU_RANGE = "sku_range"
    PIN = "pin"


@dataclass(frozen=True, slots=True)
class Route:
    """The shard of a key, by which version of the map.

    The shard compares `version` with its own record of the slot inside the write's transaction, so a stale
    router is refused there.
    """

    shard: str
    keyspace: Keyspace
    slot: str
    version: int


def bucket_of(key: str) -> int:
    """The same in every process, on every machine, for ever: never `hash()`."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big") % BUCKETS


@dataclass(frozen=True, slots=True)
class ShardMap:
    """One version of the whole map. Immutable: a change is a new version.

    `buckets[b]` is the shard of bucket b. `ranges` are (lower bound, shard), sorted, the first bound "".
    `pins` name the shard of single accounts. Until `ranges_cut` there is one range, with no product in it, and a
    plan made by such a map is valid only until then.
    """

    version: int
    buckets: Sequence[str]
    ranges: Sequence[tuple[str, str]]
    pins: Mapping[str, str]
    ranges_cut: bool = True
    _bounds: Sequence[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.buckets) != BUCKETS:
            raise ValueError(f"a shard map has {BUCKETS} buckets, got {len(self.buckets)}")
        bounds = [bound for bound, _ in self.ranges]
        if not bounds or bounds[0] != "" or bounds != sorted(set(bounds)):
            raise ValueError(f"ranges must begin with '' and grow, got {bounds}")
        object.__setattr__(self, "_bounds", bounds)

    @property
    def shards(self) -> frozenset[str]:
        """Every shard that some key maps to."""
        return frozenset({*self.buckets, *(shard for _, shard in self.ranges), *self.pins.values()})

    def of_customer(self, customer_id: str) -> Route:
        """The customer's row, account and orders."""
        return self._of_bucket(customer_id)

    def of_order_id(self, order_id: str) -> Route:
        """The lookup row that keeps an order's id unique: only the id is known when it is read."""
        return self._of_bucket(order_id)

    def of_lease(self, name: str) -> Route:
        """The rows of a user's lease."""
        return self._of_bucket(name)

    def of_account(self, account_id: str) -> Route:
        """A pinned account is on its pin's shard, any other with the customer of the same id."""
        shard = self.pins.get(account_id)
        if shard is None:
            return self._of_bucket(account_id)
        return Route(shard, Keyspace.PIN, account_id, self.version)

    def of_pinned(self, account_id: str) -> Route:
        """An account that must be in the directory: `StaleRoute` if this version of the map has no pin for it yet."""
        if account_id not in self.pins:
            raise StaleRoute(f"map version {self.version} has no pin for {account_id}")
        return self.of_account(account_id)

    def of_sku(self, sku: str) -> Route:
        lower_bound, shard = self.ranges[bisect_right(self._bounds, sku) - 1]
        return Route(shard, Keyspace.SKU_RANGE, lower_bound, self.version)

    def _of_bucket(self, key: str) -> Route:
        bucket = bucket_of(key)
        return Route(self.buckets[bucket], Keyspace.BUCKET, str(bucket), self.version)


def spread_buckets(shards: Sequence[str]) -> list[str]:
    """The first map: every shard gets an equal, contiguous part of the buckets."""
    return [shards[bucket * len(shards) // BUCKETS] for bucket in range(BUCKETS)]


def cut_ranges(skus: Iterable[str], shards: Sequence[str]) -> list[tuple[str, str]]:
    """Ranges cut at the quantiles of real SKUs, so that stock spreads over the shards.

    Evenly cut alphabets do not: real SKUs share their prefix.
    """
    ordered = sorted(set(skus))
    count = max(1, min(len(shards), len(ordered)))
    bounds = ["", *(ordered[n * len(ordered) // count] for n in range(1, count))]
    return list(zip(bounds, shards, strict=False))
