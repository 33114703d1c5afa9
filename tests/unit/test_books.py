"""The soak's own checker: a cent, a unit or an order astray is a fault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.soak.books import Books, faults
from tests.soak.orders import BALANCES, STOCK, Wanted

PAID = Wanted("paid", "c1", {"s01": 2})
REFUSED = Wanted("refused", "c2", {"s02": 1})
CLOSED = {name: (cents, 0) for name, cents in BALANCES.items()} | {"merchant.USD": (0, 0)}
FULL = {sku: (units, 0) for sku, units in STOCK.items()}
BEFORE = Books([], CLOSED, FULL, entries=0, clearing=0)
AFTER = Books(
    [("paid", "confirmed"), ("refused", "rejected")],
    CLOSED | {"c1": (BALANCES["c1"] - PAID.minor, 0), "merchant.USD": (PAID.minor, 0)},
    FULL | {"s01": (STOCK["s01"] - 2, 0)},
    entries=0,
    clearing=0,
)
REPORTED = {"paid": "confirmed", "refused": "rejected"}


def _faults(after: Books, reported: dict[str, str] = REPORTED) -> list[str]:
    return list(faults(BEFORE, after, [PAID, REFUSED], reported))


def test_books_that_agree_with_the_orders_have_no_faults() -> None:
    assert PAID.minor == 500
    assert _faults(AFTER) == []


@pytest.mark.parametrize(
    ("after", "fault"),
    [
        (replace(AFTER, balances=AFTER.balances | {"c3": (0, 0)}), "now there are"),
        (replace(AFTER, balances=AFTER.balances | {"c1": AFTER.balances["c2"]}), "account c1 has"),
        (replace(AFTER, balances=AFTER.balances | {"c3": (BALANCES["c3"], 1)}), "account c3 has"),
        (replace(AFTER, goods=AFTER.goods | {"s03": (1, 0)}), "s03 has (1, 0)"),
        (replace(AFTER, goods=AFTER.goods | {"s03": (STOCK["s03"], 1)}), "s03 has"),
        (replace(AFTER, clearing=1), "clearing sum to 1 cents"),
        (replace(AFTER, entries=-1), "all entries sum to -1 cents"),
        (replace(AFTER, states=AFTER.states[:1]), "refused has 0 rows"),
        (replace(AFTER, states=[*AFTER.states, AFTER.states[0]]), "paid has 2 rows"),
        (replace(AFTER, states=[AFTER.states[0], ("refused", "aborting")]), "refused is aborting"),
        (replace(AFTER, states=[*AFTER.states, ("ghost", "confirmed")]), "nobody placed ['ghost']"),
    ],
)
def test_anything_astray_is_a_fault(after: Books, fault: str) -> None:
    assert any(fault in each for each in _faults(after)), _faults(after)


def test_an_order_once_reported_as_confirmed_must_stay_so() -> None:
    reported = REPORTED | {"refused": "confirmed"}
    assert _faults(AFTER, reported) == ["refused was reported as confirmed, but is rejected"]
