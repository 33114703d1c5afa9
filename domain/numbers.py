"""Checks of numbers in input: whole ones and seconds, each within its limits."""

from __future__ import annotations

from domain.errors import InvalidInput
from domain.identifiers import shown
from domain.limits import QUANTITY_MAX, SECONDS_MAX


def check_whole(number: int, field: str, at_least: int, at_most: int) -> int:
    """`number` unchanged, or `InvalidInput` naming `field`."""
    if type(number) is int and at_least <= number <= at_most:
        return number
    raise InvalidInput(field, f"{field}: expected a whole number from {at_least} to {at_most}, got {shown(number)}")


def check_quantity(number: int, field: str, at_least: int = 1) -> int:
    """How many of something, in an order or on a shelf."""
    return check_whole(number, field, at_least, QUANTITY_MAX)


def check_seconds(seconds: float, field: str, above_zero: bool = False, at_most: float = SECONDS_MAX) -> float:
    """`seconds` unchanged, or `InvalidInput`; NaN is neither less nor more."""
    if type(seconds) in (int, float) and 0 <= seconds <= at_most and (seconds > 0 or not above_zero):
        return seconds
    expected = f"more than 0 and at most {at_most:.15g}" if above_zero else f"0 to {at_most:.15g}"
    raise InvalidInput(field, f"{field}: expected {expected} seconds, got {shown(seconds)}")
