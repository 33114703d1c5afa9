"""The table of currencies beside the one that ISO 4217's maintenance agency publishes, which is the package iso4217."""

from __future__ import annotations

from iso4217 import Currency

from domain.currencies import DECIMALS, WITHDRAWN, why_not_new
from domain.money import Money, check_currency

# Codes that nobody can be paid in: metals, bond units, units of account, testing.
REGIONAL = {"XAF", "XCD", "XCG", "XOF", "XPF"}


def test_every_currency_one_can_be_paid_in_is_there_with_its_decimals() -> None:
    published = {each.code: each.exponent for each in Currency if each.code[0] != "X" or each.code in REGIONAL}
    assert {code: decimals for code, decimals in DECIMALS.items() if code not in WITHDRAWN} == published


def test_a_withdrawn_currency_is_still_read_and_refused_with_the_day() -> None:
    assert WITHDRAWN.keys().isdisjoint({each.code for each in Currency})
    for code in WITHDRAWN:
        assert Money.parse("14.00", check_currency(code)).currency == code
    assert why_not_new("BGN") == "BGN was withdrawn on 2026-01-01: nothing new is opened in it"


def test_a_code_that_was_never_assigned_is_unknown_and_the_rest_is_free() -> None:
    assert not {"HRK", "DEM", "ANG"} & DECIMALS.keys()
    assert [why_not_new(code) for code in ("EUR", "USD", "XCG")] == [None] * 3
