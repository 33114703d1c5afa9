"""Money: integer minor units with their currency. Text carries decimals, mixing currencies is an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, PlainSerializer, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from domain.currencies import DECIMALS
from domain.errors import InvalidInput
from domain.identifiers import shown
from domain.limits import AMOUNT_MINOR_UNITS_MAX

_DECIMAL = re.compile(r"(?P<sign>-?)(?P<whole>[0-9]{1,20})(?:\.(?P<fraction>[0-9]{1,10}))?", re.ASCII)


def check_currency(value: object, field: str = "currency") -> str:
    """An ISO-4217 code as it is, or `InvalidInput`. A withdrawn one passes: see `why_not_new`."""
    if isinstance(value, str) and value in DECIMALS:
        return value
    raise InvalidInput(field, f"{field}: expected an ISO 4217 code such as 'USD', got {shown(value)}")


def check_amount(amount: Money, field: str, above_zero: bool = False) -> Money:
    """An amount given by a caller, or `InvalidInput`: not below zero, which would reverse who pays whom."""
    if amount.minor < (1 if above_zero else 0):
        expected = "more than zero" if above_zero else "zero or more"
        raise InvalidInput(field, f"{field}: expected {expected}, got {amount.amount}")
    if amount.minor > AMOUNT_MINOR_UNITS_MAX:
        expected = f"at most {AMOUNT_MINOR_UNITS_MAX} minor units"
        raise InvalidInput(field, f"{field}: expected {expected}, got {amount.amount}")
    return amount


@dataclass(frozen=True, slots=True)
class Money:
    """An amount, positive or negative, in minor units (cents) of one currency.

    In JSON it is one readable string, "14.00 USD", so that a workflow's history can be read by a person.
    """

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.minor) is not int:
            raise TypeError(f"minor units are an int, got {self.minor!r}")
        check_currency(self.currency)

    @classmethod
    def zero(cls, currency: str) -> Money:
        return cls(0, currency)

    @classmethod
    def parse(cls, text: object, currency: str, field: str = "amount") -> Money:
        """The amount written as a decimal string, e.g. "14.00"; not more decimals than the currency has.

        `InvalidInput` for anything else: a float has no exact cents, so a JSON number is refused too.
        """
        check_currency(currency)
        decimals = DECIMALS[currency]
        match = _DECIMAL.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise InvalidInput(
                field,
                f"{field}: expected a decimal string such as '14{_example(min(decimals, 2))}', got {shown(text)}",
            )
        fraction = match["fraction"] or ""
        if len(fraction.rstrip("0")) > decimals:
            raise InvalidInput(
                field, f"{field}: expected at most {decimals} decimals for {currency}, got {shown(text)}"
            )
        minor = int(match["whole"]) * 10**decimals + int(fraction[:decimals].ljust(decimals, "0") or "0")
        if minor > AMOUNT_MINOR_UNITS_MAX:
            raise InvalidInput(
                field, f"{field}: expected at most {AMOUNT_MINOR_UNITS_MAX} minor units, got {shown(text)}"
            )
        return cls(-minor if match["sign"] else minor, currency)

    @property
    def amount(self) -> str:
        """The decimal string without the currency, e.g. "14.00"."""
        decimals = DECIMALS[self.currency]
        sign, digits = "-" if self.minor < 0 else "", str(abs(self.minor)).rjust(decimals + 1, "0")
        return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}" if decimals else f"{sign}{digits}"

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"

    def __add__(self, other: Money) -> Money:
        return Money(self.minor + self._same(other).minor, self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor - self._same(other).minor, self.currency)

    def __neg__(self) -> Money:
        return Money(-self.minor, self.currency)

    def __mul__(self, quantity: int) -> Money:
        return Money(self.minor * quantity, self.currency)

    def __lt__(self, other: Money) -> bool:
        return self.minor < self._same(other).minor

    def __le__(self, other: Money) -> bool:
        return self.minor <= self._same(other).minor

    def _same(self, other: Money) -> Money:
        if other.currency != self.currency:
            raise ValueError(f"cannot mix {self.currency} and {other.currency}")
        return other

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _from_json, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )


def _from_json(value: object) -> Money:
    if isinstance(value, Money):
        return value
    if not isinstance(value, str) or value.count(" ") != 1:
        raise ValueError("expected an amount with its currency, such as '14.00 USD'")
    amount, currency = value.split(" ")
    decimals = DECIMALS.get(currency)
    if decimals is None:
        raise ValueError(f"expected an ISO 4217 code such as 'USD', got {shown(currency)}")
    match = _DECIMAL.fullmatch(amount)
    if match is None or len(match["fraction"] or "") != decimals:
        raise ValueError(f"expected an amount with {decimals} decimals, such as '14{_example(decimals)} {currency}'")
    minor = int(match["whole"] + (match["fraction"] or ""))
    return Money(-minor if match["sign"] else minor, currency)


def _example(decimals: int) -> str:
    return "." + "0" * decimals if decimals else ""


# Temporal's pydantic converter serialises without the type's schema; pydantic then asks the object itself.
Money.__pydantic_serializer__ = TypeAdapter(Money).serializer  # type: ignore[attr-defined]


Amount = Annotated[Money, PlainSerializer(lambda money: money.amount, return_type=str, when_used="json")]
"""Money in a document that names its currency beside it: written as a decimal string."""
