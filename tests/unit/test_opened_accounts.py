"""A customer opened by a command equals one of a file, and its hash is the same as before there were overdrafts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalogue import Customer, customer_of_account, customer_of_row
from domain.errors import InvalidInput
from domain.money import Money
from domain.text import printable

ARGUMENTS = ("account_id", "currency", "balance", "overdraft", "name", "email")
CELLS = st.one_of(st.sampled_from(["a", "USD", "JPY", "1.00", "-1", "merchant.USD", "\x1b", "\u202e"]), st.text())


def opened(overdraft: str = "0", email: str | None = "ada@example.org") -> Customer:
    return customer_of_account("ada", "EUR", "12.34", overdraft, "Ada", email)


def test_a_customer_without_an_overdraft_has_the_hash_it_always_had() -> None:
    assert opened().content_hash == "62881586d1fe63029a25fb7e36f13724"
    assert opened("0.00") == opened()


def test_overdrafts_are_content() -> None:
    hashes = {opened(overdraft).content_hash for overdraft in ("0", "0.01", "1", "1.00")}
    assert len(hashes) == 3
    assert opened("1").overdraft == Money(100, "EUR")


def test_a_customer_made_of_options_equals_one_made_of_a_line() -> None:
    line = {"customer_id": "ada", "name": "Ada", "email": "", "currency": "EUR", "opening_balance": "12.34"}
    assert customer_of_row(line) == opened(email=None)


def test_a_customer_without_a_name_is_named_by_the_id() -> None:
    assert customer_of_account("ada", "EUR", "0", "0", None, None).name == "ada"


@pytest.mark.parametrize("account_id", ["merchant.", "merchant.USD", "merchant.x"])
def test_merchants_accounts_cannot_be_opened(account_id: str) -> None:
    with pytest.raises(InvalidInput, match=r"account_id: ids that begin with 'merchant\.' are the merchants'"):
        customer_of_account(account_id, "USD", "0", "0", None, None)


@given(st.tuples(CELLS, CELLS, CELLS, CELLS, st.none() | CELLS, st.none() | CELLS))
def test_any_options_are_taken_or_refused_by_their_name(
    given_options: tuple[str, str, str, str, str | None, str | None],
) -> None:
    refused: InvalidInput | None = None
    try:
        customer = customer_of_account(*given_options)
    except InvalidInput as fault:
        refused = fault
    if refused is None:
        assert customer.customer_id == given_options[0]
        assert customer.overdraft is None or customer.overdraft.minor > 0
    else:
        assert refused.field in ARGUMENTS
        assert refused.message.startswith(f"{refused.field}: ")
        assert printable(refused.message) == refused.message
