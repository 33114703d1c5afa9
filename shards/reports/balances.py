"""What each shard has in its accounts, and all of it together. Changes nothing.

Each shard is read in one snapshot of its own, and no instant is common to them. Sums are made by the shards. In each
snapshot every movement sums to zero, so over any snapshots of any shards

    customers + merchants + clearing = paid in

holds to the cent. With all shards, `clearing` is the money in flight between them as these snapshots have it: it is
below zero where the later of two snapshots shows money arriving that the earlier one does not show leaving.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shards.accounts.reads import AccountBalance, balances_after
from shards.connections.database import Database
from shards.read_model.pages import Page, PageAfter, page_of
from shards.reports.scatter import SHARDS_AT_ONCE, Gathered, scatter

# The first statement takes the snapshot. The limit ends on the server what nobody waits for any more.
_BEGIN = text("SELECT statement_timestamp() AS at, set_config('statement_timeout', :milliseconds, true)")
# Clearing and equity keep no balance: theirs is the sum of their entries.
_SUMS = text("""
    SELECT currency, kind, count(*) AS accounts, CAST(sum(held) AS text) AS held,
           CAST(sum(coalesce(posted, (SELECT sum(amount) FROM entry WHERE account_id = a.id), 0)) AS text) AS posted
    FROM account AS a GROUP BY currency, kind
""")


@dataclass(frozen=True, slots=True)
class Sums:
    """Of one currency, in minor units. `accounts`: customers' and merchants'. `held` is part of their balances.
    `paid_in`: what came from outside, as opening balances."""

    accounts: int = 0
    customers: int = 0
    merchants: int = 0
    held: int = 0
    clearing: int = 0
    paid_in: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, slots=True)
class Part:
    """One shard's, as of `at` by its own clock. `sums` by currency; empty if only a page was asked for."""

    at: datetime
    sums: Mapping[str, Sums]
    accounts: tuple[AccountBalance, ...]


async def read_part(shard: Database, page: PageAfter[str], with_sums: bool, seconds: float) -> Part:
    """In one snapshot. `Unreachable`, or an error of the driver where it took longer than `seconds`."""
    async with shard.snapshot() as connection:
        begun = (await connection.execute(_BEGIN, {"milliseconds": str(max(1, round(seconds * 1000)))})).one()
        sums = await _read_sums(connection) if with_sums else {}
        accounts = await balances_after(connection, shard.name, page.after or "", page.rows_read)
        return Part(begun.at, sums, tuple(accounts))


async def read_parts(
    shards: Mapping[str, Database],
    page: PageAfter[str],
    with_sums: bool,
    seconds: float,
    at_once: int = SHARDS_AT_ONCE,
) -> Gathered[Part]:
    """Of all these shards; raises as `scatter` does."""
    return await scatter(shards, lambda shard: read_part(shard, page, with_sums, seconds), seconds, at_once)


def sums_of(parts: Iterable[Part]) -> dict[str, Sums]:
    """By currency, in its order."""
    together: dict[str, Sums] = {}
    for part in parts:
        for currency, sums in part.sums.items():
            together[currency] = together.get(currency, Sums()) + sums
    return dict(sorted(together.items()))


def accounts_of(parts: Iterable[Part], page: PageAfter[str]) -> Page[AccountBalance, str]:
    """By id, over all parts: each came with as many as the page could need, in the same order."""

    def id_of(account: AccountBalance) -> str:
        return account.account_id

    return page_of(list(heapq.merge(*(part.accounts for part in parts), key=id_of)), page, id_of)


async def _read_sums(connection: AsyncConnection) -> dict[str, Sums]:
    found: dict[str, Sums] = {}
    for row in await connection.execute(_SUMS):
        posted, held = int(row.posted), int(row.held)
        match row.kind:
            case "customer":
                sums = Sums(accounts=row.accounts, customers=posted, held=held)
            case "merchant":
                sums = Sums(accounts=row.accounts, merchants=posted, held=held)
            case "clearing":
                sums = Sums(clearing=posted)
            case _:
                sums = Sums(paid_in=-posted)
        found[row.currency] = found.get(row.currency, Sums()) + sums
    return found
