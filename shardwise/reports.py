"""Reports from the shards themselves, over all of them."""

from __future__ import annotations

from pydantic import TypeAdapter

from domain.argument_types import check_type
from domain.documents import Document
from domain.errors import Unreachable
from domain.money import Amount, Money
from domain.numbers import check_seconds
from domain.page_tokens import KeyId, PageToken
from domain.timestamps import Timestamp
from shards.accounts.reads import AccountBalance
from shards.read_model.pages import next_token, page_after
from shards.reports.balances import Sums, accounts_of, read_parts, sums_of
from shardwise.connections import Installation

__all__ = ["LIMIT", "SHARD_SECONDS", "AccountBalance", "BalanceTotal", "BalancesReport", "MissingShard", "Reports"]

LIMIT = 50
SHARD_SECONDS = 10.0
_ACCOUNTS: PageToken[str] = PageToken("balances", TypeAdapter(KeyId))


class BalanceTotal(Document):
    """Of one currency, over the shards that answered: `customers` + `merchants` + `clearing` = `paid_in`, to the cent.

    `held` is part of what customers and merchants have. `clearing` is money between shards. If no shard is missing that
    is `in_flight`; else part of it lies on those that are missing, and nobody knows how much: `in_flight` is None.
    """

    currency: str
    accounts: int
    customers: Amount
    merchants: Amount
    held: Amount
    clearing: Amount
    in_flight: Amount | None
    paid_in: Amount


class MissingShard(Document):
    shard: str
    why: str


class BalancesReport(Document):
    """`as_of`: when each shard was read, by its own clock. Each was read at one instant, and no instant is common to
    them. `missing`: the shards that did not answer. `totals`: only with the first page. `accounts`: by id. `next` goes
    into `after` to get the next page; None if this is the last."""

    as_of: dict[str, Timestamp]
    missing: tuple[MissingShard, ...]
    totals: tuple[BalanceTotal, ...]
    accounts: tuple[AccountBalance, ...]
    next: str | None


class Reports:
    """Changes nothing."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    async def balances(
        self,
        limit: int = LIMIT,
        after: str | None = None,
        shard_timeout: float = SHARD_SECONDS,
        partial: bool = False,
    ) -> BalancesReport:
        """What customers and merchants have and what is in flight, by currency, and a page of all their accounts.

        Asks the primaries, eight at a time and each for `shard_timeout` seconds at most, so it shows all that was
        committed before it began. `Unreachable` if a shard does not answer, naming each; with `partial` the others'
        report, unless none answers. `InvalidInput` naming the argument.
        """
        page = page_after(_ACCOUNTS, limit, after)
        check_seconds(shard_timeout, "shard_timeout", above_zero=True)
        check_type(partial, bool, "partial")
        shards = self._installation.without_timeouts.cluster.primaries
        found = await read_parts(shards, page, with_sums=page.after is None, seconds=shard_timeout)
        if found.missing and not (partial and found.answers):
            why = "; ".join(error.message for error in found.missing.values())
            others = ". A partial report (--partial) leaves it out" if found.answers else ""
            raise Unreachable("shard_unreachable", why + others)
        accounts = accounts_of(found.answers.values(), page)
        return BalancesReport(
            as_of={name: part.at for name, part in found.answers.items()},
            missing=tuple(MissingShard(shard=name, why=error.message) for name, error in found.missing.items()),
            totals=tuple(
                _total(currency, sums, is_whole=not found.missing)
                for currency, sums in sums_of(found.answers.values()).items()
            ),
            accounts=accounts.rows,
            next=next_token(_ACCOUNTS, accounts.next),
        )


def _total(currency: str, sums: Sums, is_whole: bool) -> BalanceTotal:
    clearing = Money(sums.clearing, currency)
    return BalanceTotal(
        currency=currency,
        accounts=sums.accounts,
        customers=Money(sums.customers, currency),
        merchants=Money(sums.merchants, currency),
        held=Money(sums.held, currency),
        clearing=clearing,
        in_flight=clearing if is_whole else None,
        paid_in=Money(sums.paid_in, currency),
    )
