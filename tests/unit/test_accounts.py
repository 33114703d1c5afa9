"""The rules by which an account may spend or receive: stated once, for one transfer and for a batch."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from domain.accounts import AccountState, why_not_close, why_not_receive, why_not_spend
from domain.money import Money
from domain.sagas import Reason
from shards.tables.shard import account as account_table

TEN = Money(10_00, "USD")


@dataclass(frozen=True)
class Account:
    state: str = AccountState.OPEN
    currency: str = "USD"
    available: Money = TEN


def usd(minor: int) -> Money:
    return Money(minor, "USD")


@pytest.mark.parametrize(
    ("account", "reason", "detail"),
    [
        (Account(), None, ""),
        (None, Reason.UNKNOWN_ACCOUNT, "there is no account ada"),
        (Account(state="frozen"), Reason.ACCOUNT_NOT_OPEN, "account ada is frozen"),
        (Account(state="closed"), Reason.ACCOUNT_NOT_OPEN, "account ada is closed"),
        (Account(currency="EUR", state="closed"), Reason.CURRENCY_MISMATCH, "account ada is in EUR, not in USD"),
    ],
)
def test_an_account_that_may_not_receive_may_not_spend_either(
    account: Account | None, reason: Reason | None, detail: str
) -> None:
    refusals = (why_not_receive("ada", account, "USD"), why_not_spend("ada", account, usd(1)))
    for refusal in refusals:
        assert (refusal.reason if refusal else None, refusal.detail if refusal else "") == (reason, detail)


@pytest.mark.parametrize(("wanted", "is_refused"), [(10_00, False), (10_01, True)])
def test_an_account_spends_what_is_available_and_no_cent_more(wanted: int, is_refused: bool) -> None:
    refusal = why_not_spend("ada", Account(), usd(wanted))
    assert (refusal is not None) is is_refused
    if refusal is not None:
        assert (refusal.reason, refusal.detail) == (
            Reason.INSUFFICIENT_FUNDS,
            "10.01 USD wanted, 10.00 USD available on account ada",
        )


@pytest.mark.parametrize(
    ("blocked", "code"),
    [
        ({}, None),
        ({"is_merchant": True}, "merchant_account"),
        ({"holds": 1}, "account_has_holds"),
        ({"held": usd(1)}, "account_has_holds"),
        ({"admissions": 2}, "account_has_open_admissions"),
        ({"balance": usd(-1)}, "account_not_empty"),
        ({"balance": usd(1), "admissions": 1}, "account_has_open_admissions"),
    ],
)
def test_an_account_closes_only_if_it_is_empty_and_nothing_is_on_its_way(
    blocked: dict[str, object], code: str | None
) -> None:
    empty: dict[str, object] = {"is_merchant": False, "balance": usd(0), "held": usd(0), "holds": 0, "admissions": 0}
    refused = why_not_close("ada", **(empty | blocked))  # type: ignore[arg-type]
    assert (refused.code if refused else None) == code


def test_the_account_table_allows_exactly_the_declared_states() -> None:
    [check] = [each for each in account_table.constraints if str(each.name).endswith("account_state_check")]
    assert str(check.sqltext) == "state IN ('open', 'frozen', 'closed')"  # type: ignore[attr-defined]
