"""Accounts: their states, and what each state lets happen.

    open ◀──▶ frozen
      └──▶ closed ◀──┘

A frozen account accepts no new holds, debits or admissions; earlier holds are still captured and earlier admissions
still credited. A closed account is empty, and stays closed.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from domain.errors import Refused
from domain.money import Money
from domain.sagas import Reason, Refusal


class AccountState(StrEnum):
    """The states an account's row can be in."""

    OPEN = "open"
    FROZEN = "frozen"
    CLOSED = "closed"


class AccountFacts(Protocol):
    """The fields of an account's row that the rules read."""

    @property
    def state(self) -> str: ...
    @property
    def currency(self) -> str: ...


class Spendable(AccountFacts, Protocol):
    """`available`: the balance without what is held, plus the overdraft."""

    @property
    def available(self) -> Money: ...


def why_not_receive(account_id: str, account: AccountFacts | None, currency: str) -> Refusal | None:
    """Why money of this currency cannot be brought to the account, or None if it can. `account` None: there is none."""
    if account is None:
        return unknown_account(account_id)
    if account.currency != currency:
        return Refusal(Reason.CURRENCY_MISMATCH, f"account {account_id} is in {account.currency}, not in {currency}")
    if account.state != AccountState.OPEN:
        return Refusal(Reason.ACCOUNT_NOT_OPEN, f"account {account_id} is {account.state}")
    return None


def why_not_spend(account_id: str, account: Spendable | None, amount: Money) -> Refusal | None:
    """Why `amount` cannot leave the account, or None if it can. `account` None: there is none."""
    refusal = why_not_receive(account_id, account, amount.currency)
    if refusal is None and account is not None and account.available < amount:
        return insufficient_funds(account_id, account.available, amount)
    return refusal


def insufficient_funds(account_id: str, available: Money, amount: Money) -> Refusal:
    return Refusal(Reason.INSUFFICIENT_FUNDS, f"{amount} wanted, {available} available on account {account_id}")


def unknown_account(account_id: str) -> Refusal:
    return Refusal(Reason.UNKNOWN_ACCOUNT, f"there is no account {account_id}")


def unknown_customer(customer_id: str) -> Refusal:
    return Refusal(Reason.UNKNOWN_CUSTOMER, f"there is no customer {customer_id}")


def why_not_close(
    account_id: str, is_merchant: bool, balance: Money, held: Money, holds: int, admissions: int
) -> Refused | None:
    """Why the account cannot end, or None if it can. `holds`: how many are placed on it; `admissions`: how many
    are open to it. Both are reported before the balance, since they will change it."""
    if is_merchant:
        return _cannot_close("merchant_account", account_id, "orders must always be able to pay their merchant")
    if holds or held.minor:
        return _cannot_close("account_has_holds", account_id, f"{held} is held on it (holds: {holds})")
    if admissions:
        on_their_way = f"transfers were admitted to it and are not credited yet ({admissions})"
        return _cannot_close("account_has_open_admissions", account_id, on_their_way)
    if balance.minor:
        return _cannot_close("account_not_empty", account_id, f"its balance is {balance}")
    return None


def _cannot_close(code: str, account_id: str, what: str) -> Refused:
    return Refused(code, f"account {account_id} cannot be closed: {what}", "account_id")
