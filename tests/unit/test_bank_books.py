"""The bank test's own checker: a cent, a transfer or a status astray is a fault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.money import Money
from domain.sagas import Reason
from domain.transfers import ProtocolChoice, Transfer, TransferStatus
from tests.soak.bank_accounts import OPENING, SETTLED, Key, Places, Wanted, Way, transfers
from tests.soak.bank_books import Answers, Ending, Row, Rows, faults
from tests.soak.bank_snapshots import look_faults, pairing_faults

EURO = frozenset({str(Reason.CURRENCY_MISMATCH)})


def _wanted(transfer_id: str, minor: int, may: frozenset[str]) -> Wanted:
    transfer = Transfer(transfer_id, "a01", "a02", Money(minor, "USD"))
    return Wanted(transfer, ProtocolChoice.SAGA, Way.ONCE, may)


PAID, REFUSED = _wanted("paid", 300, frozenset({SETTLED})), _wanted("refused", 7, EURO)
NOT_LOCAL = _wanted("apart", 5, frozenset({str(Reason.NOT_LOCAL)}))
WANTED = [PAID, REFUSED, NOT_LOCAL]
DECLINED = Ending(TransferStatus.DECLINED, Reason.CURRENCY_MISMATCH)
REPORTED = {
    PAID.key: Ending(TransferStatus.SETTLED),
    REFUSED.key: DECLINED,
    NOT_LOCAL.key: Ending(TransferStatus.DECLINED, Reason.NOT_LOCAL),
}
PAID_ROW, REFUSED_ROW = Row("confirmed", "saga", None), Row("declined", "saga", "currency_mismatch")
AFTER = Rows(
    transfers=[(PAID.key, PAID_ROW), (REFUSED.key, REFUSED_ROW)],
    admissions=[("transfer/a01/paid", "credited"), ("transfer/a01/refused", "refused")],
    balances={account: (cents, 0) for account, cents in OPENING.items()}
    | {"a01": (OPENING["a01"] - 300, 0), "a02": (OPENING["a02"] + 300, 0)},
    entries={"shard-1": 0, "shard-2": 0},
    clearing=0,
    prepared=[],
)
LOOK = {"entries": 0, "money": 500, "unexplained": 0, "misposted": [], "misheld": [], "overdrawn": [], "in_doubt": 1}


def _faults(rows: Rows = AFTER, reported: dict[Key, Ending] = REPORTED) -> list[str]:
    return list(faults(WANTED, reported, rows))


def _balances(**changed: tuple[int, int]) -> Rows:
    return replace(AFTER, balances=AFTER.balances | changed)


def test_rows_that_agree_with_the_reported_statuses_have_no_faults() -> None:
    assert _faults() == []


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (_balances(a03=(OPENING["a03"] + 1, 0)), "were paid in, now there are"),
        (_balances(a01=AFTER.balances["a02"], a02=AFTER.balances["a01"]), "account a01 has"),
        (_balances(a03=(OPENING["a03"], 1)), "account a03 has"),
        (_balances(ghost=(0, 0)), "nobody opened ['ghost']"),
        (replace(AFTER, clearing=-1), "entries of clearing sum to -1 cents"),
        (replace(AFTER, entries={"shard-1": 1}), "entries of shard-1 sum to 1 cents"),
        (replace(AFTER, prepared=["shardwise:x:source"]), "in doubt at rest"),
        (replace(AFTER, transfers=AFTER.transfers[1:]), "reported as settled, has 0 rows"),
        (replace(AFTER, transfers=[*AFTER.transfers, AFTER.transfers[0]]), "has 2 rows"),
        (replace(AFTER, transfers=[*AFTER.transfers, (NOT_LOCAL.key, PAID_ROW)]), "reported as not_local, has 1 rows"),
        (replace(AFTER, transfers=[*AFTER.transfers, (("a01", "x"), PAID_ROW)]), "nobody asked for [('a01', 'x')]"),
        (
            replace(AFTER, transfers=[(PAID.key, REFUSED_ROW), AFTER.transfers[1]]),
            "was reported as settled, but its row is",
        ),
        (replace(AFTER, transfers=[(PAID.key, replace(PAID_ROW, state="pending"))]), "its row is pending"),
        (
            replace(AFTER, transfers=[AFTER.transfers[0], (REFUSED.key, replace(REFUSED_ROW, reason="no_vote"))]),
            "was reported as currency_mismatch, but its row is declined no_vote",
        ),
        (replace(AFTER, admissions=[]), "was reported as settled, but its admission is []"),
        (replace(AFTER, admissions=AFTER.admissions * 2), "its admission is ['credited', 'credited']"),
        (
            replace(AFTER, admissions=[AFTER.admissions[0], ("transfer/a01/refused", "open")]),
            "did not cross, but its admission is ['open']",
        ),
    ],
)
def test_rows_that_are_astray_are_a_fault(rows: Rows, fault: str) -> None:
    assert any(fault in each for each in _faults(rows)), _faults(rows)


@pytest.mark.parametrize(
    ("ending", "fault"),
    [
        (None, "never got a final status"),
        (Ending(TransferStatus.DECLINED, Reason.STEP_FAILED), "ended as step_failed, not as ['currency_mismatch']"),
        (Ending(TransferStatus.SETTLED), "ended as settled"),
    ],
)
def test_a_wrong_ending_is_a_fault(ending: Ending | None, fault: str) -> None:
    reported = {key: each for key, each in REPORTED.items() if key != REFUSED.key}
    if ending is not None:
        reported[REFUSED.key] = ending
    assert any(fault in each for each in _faults(reported=reported)), _faults(reported=reported)


def test_a_final_status_must_stay_as_it_was_first_reported() -> None:
    answers = Answers()
    for status, reason in (("pending", None), ("settled", None), ("pending", None), ("declined", "no_vote")):
        answers.record(PAID.key, status, reason)
    assert answers.endings == {PAID.key: Ending("settled")}
    assert answers.faults == ["('a01', 'paid') was reported as settled, and later no_vote"]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"entries": 1}, "all entries summed to 1 cents"),
        ({"money": 499}, "had 499 cents, 500 were paid in"),
        ({"unexplained": -2}, "clearing differed from its legs by -2 cents"),
        ({"misposted": ["a01"]}, "misposted: ['a01']"),
        ({"misheld": ["a02"]}, "misheld: ['a02']"),
        ({"overdrawn": ["a03"]}, "overdrawn: ['a03']"),
    ],
)
def test_a_snapshot_of_a_shard_that_does_not_add_up_is_a_fault(changed: dict[str, object], fault: str) -> None:
    assert list(look_faults("shard-1", 500, LOOK)) == []
    [found] = look_faults("shard-1", 500, LOOK | changed)
    assert fault in found


def test_money_that_arrived_and_had_not_left_is_a_fault() -> None:
    assert list(pairing_faults({"x"}, {"x", "y"})) == []
    assert list(pairing_faults({"x", "z"}, {"x", "y"})) == ["money arrived that had not left: ['z']"]


def test_the_same_seed_makes_the_same_transfers_and_all_kinds() -> None:
    places = Places(["shard-1", "shard-2", "shard-3"])
    plans = [transfers("seed", 0, places) for _ in range(2)]
    drawn = [[next(plan) for _ in range(600)] for plan in plans]
    assert drawn[0] == drawn[1]
    assert {each.way for each in drawn[0]} == set(Way)
    assert {each.protocol for each in drawn[0]} == set(ProtocolChoice)
    assert {reason for each in drawn[0] for reason in each.may} >= {
        SETTLED,
        Reason.INSUFFICIENT_FUNDS,
        Reason.ACCOUNT_NOT_OPEN,
        Reason.UNKNOWN_ACCOUNT,
        Reason.CURRENCY_MISMATCH,
        Reason.NOT_LOCAL,
        Reason.NO_VOTE,
    }
