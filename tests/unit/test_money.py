"""Money: exact, of one currency, and written as decimals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from domain.currencies import DECIMALS
from domain.errors import InvalidInput
from domain.limits import AMOUNT_MINOR_UNITS_MAX
from domain.money import Money, check_currency

currencies = st.sampled_from(sorted(DECIMALS))
minor_units = st.integers(-AMOUNT_MINOR_UNITS_MAX, AMOUNT_MINOR_UNITS_MAX)
amounts = st.builds(Money, minor_units, currencies)


class Priced(BaseModel):
    price: Money


@given(amounts)
def test_an_amount_written_as_decimals_is_read_back_the_same(amount: Money) -> None:
    assert Money.parse(amount.amount, amount.currency) == amount


@given(amounts)
def test_an_amount_survives_json(amount: Money) -> None:
    written = Priced(price=amount)
    assert Priced.model_validate_json(written.model_dump_json()) == written
    assert written.model_dump(mode="json") == {"price": str(amount)}


@given(currencies, minor_units, minor_units)
def test_sums_are_exact(currency: str, first: int, second: int) -> None:
    a, b = Money(first, currency), Money(second, currency)
    assert (a + b).minor == first + second
    assert a + b - b == a
    assert (a < b) == (first < second)
    assert (a <= b) == (first <= second)
    assert a + -a == Money.zero(currency)


@given(amounts, st.integers(0, 1000))
def test_a_quantity_of_a_price_is_the_price_that_many_times(price: Money, quantity: int) -> None:
    total = Money.zero(price.currency)
    for _ in range(quantity % 20):
        total = total + price
    assert price * (quantity % 20) == total


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("14.00", "USD", 1400),
        ("14", "USD", 1400),
        ("14.5", "USD", 1450),
        ("14.500", "USD", 1450),
        ("0.01", "EUR", 1),
        ("-0.01", "EUR", -1),
        ("007", "JPY", 7),
        ("7.00", "JPY", 7),
        ("1.234", "KWD", 1234),
        ("1.2345", "CLF", 12345),
    ],
)
def test_decimals_are_those_of_the_currency(text: str, currency: str, minor: int) -> None:
    assert Money.parse(text, currency) == Money(minor, currency)


@given(currencies, st.integers(0, 10**9), st.integers(1, 9))
def test_a_fraction_of_a_minor_unit_is_refused(currency: str, whole: int, last_digit: int) -> None:
    text = f"{whole}.{'0' * DECIMALS[currency]}{last_digit}"
    with pytest.raises(InvalidInput, match=r"unit_price: expected at most \d decimals"):
        Money.parse(text, currency, "unit_price")


NO_DECIMALS: tuple[object, ...] = (
    *("", " ", "1,00", "1.", ".5", "+1", "1e3", "0x1", "NaN", "inf", "--1", "1.0.0", " 1", "1\n", "1_000", "\u0661"),
    *("9" * 21, 14, 14.0, True, None, b"14", ["14"]),
)


@pytest.mark.parametrize("value", NO_DECIMALS)
def test_a_value_that_is_no_decimal_string_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"amount: expected a decimal string such as '14\.00'") as refused:
        Money.parse(value, "USD")
    assert refused.value.field == "amount"


def test_an_amount_has_a_limit_on_both_sides() -> None:
    limit = Money(AMOUNT_MINOR_UNITS_MAX, "USD")
    assert Money.parse(limit.amount, "USD") == limit
    assert Money.parse(f"-{limit.amount}", "USD") == -limit
    for sign in ("", "-"):
        with pytest.raises(InvalidInput, match="at most"):
            Money.parse(f"{sign}{(limit + Money(1, 'USD')).amount}", "USD")


@given(amounts, amounts)
def test_currencies_never_mix(a: Money, b: Money) -> None:
    if a.currency == b.currency:
        return
    for mixed in (lambda: a + b, lambda: a - b, lambda: a < b, lambda: a <= b):
        with pytest.raises(ValueError, match="cannot mix"):
            mixed()
    assert a != b


@pytest.mark.parametrize("minor", [1.0, "1", True, None])
def test_minor_units_are_whole(minor: object) -> None:
    with pytest.raises(TypeError, match="minor units are an int"):
        Money(minor, "USD")  # type: ignore[arg-type]


@pytest.mark.parametrize("code", ["usd", "US", "USDX", "XXX", "XAU", "XTS", "", "ABC", None, 840])
def test_only_currencies_one_can_be_paid_in_exist(code: object) -> None:
    with pytest.raises(InvalidInput, match="currency: expected an ISO 4217 code"):
        check_currency(code)


@pytest.mark.parametrize(
    "value", ["14.00", "14.00  USD", "USD 14.00", "1.001 USD", "x USD", "14.00 usd", " USD", 14, None]
)
def test_damaged_money_in_json_is_an_error_never_another_amount(value: object) -> None:
    with pytest.raises((ValidationError, InvalidInput)):
        Priced.model_validate({"price": value})
