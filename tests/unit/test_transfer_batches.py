"""How the lines of a batch are decided: money runs down in the order of the file."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from domain.sagas import Reason, Refusal
from domain.transfer_batch import Decisions, Line, Round, decide

CLOSED = Refusal(Reason.ACCOUNT_NOT_OPEN, "account x is closed")
ACCOUNTS = ("ada", "bob", "eve")

lines_of = st.lists(st.tuples(st.sampled_from(ACCOUNTS), st.integers(1, 60), st.booleans()), max_size=40).map(
    lambda given: [
        (Line(n, f"T{n}", source, "x", "USD", amount), refused) for n, (source, amount, refused) in enumerate(given)
    ]
)
# Money that this batch has credited does not count, so the rest may be negative.
balances = st.fixed_dictionaries({account: st.integers(-20, 100) for account in ACCOUNTS})


def line(n: int, amount: int, source: str = "ada") -> Line:
    return Line(n, f"T{n}", source, "bob", "USD", amount)


def outcome_of(decisions: Decisions) -> tuple[dict[int, Refusal | None], list[int]]:
    return {each.line.n: each.refusal for each in decisions.decided}, [each.n for each in decisions.postponed]


def test_a_line_that_does_not_fit_is_passed_over_and_a_smaller_one_fits() -> None:
    decisions = decide([line(2, 60), line(3, 50), line(4, 40)], {"ada": 100}, {}, Round.FIRST)
    assert outcome_of(decisions) == ({2: None, 4: None}, [3])


def test_a_line_that_a_rule_forbids_takes_no_money_and_is_never_postponed() -> None:
    decisions = decide([line(2, 100), line(3, 100)], {"ada": 100}, {2: CLOSED}, Round.FIRST)
    assert outcome_of(decisions) == ({2: CLOSED, 3: None}, [])


def test_in_the_second_round_what_does_not_fit_is_refused_for_good_and_says_why() -> None:
    decisions = decide([line(2, 10_01)], {"ada": 10_00}, {}, Round.SECOND)
    refusal = decisions.decided[0].refusal
    assert refusal == Refusal(Reason.INSUFFICIENT_FUNDS, "10.01 USD wanted, 10.00 USD available on account ada")


def test_less_than_nothing_is_reported_as_nothing() -> None:
    refusal = decide([line(2, 1)], {"ada": -5}, {}, Round.SECOND).decided[0].refusal
    assert refusal is not None
    assert "0.00 USD available" in refusal.detail


@given(lines_of, balances, st.sampled_from(Round))
def test_it_is_what_one_line_after_the_other_would_do(
    given: list[tuple[Line, bool]], spendable: dict[str, int], round_: Round
) -> None:
    refused = {line.n: CLOSED for line, is_refused in given if is_refused}
    left = dict(spendable)
    expected: dict[int, Reason | str] = {}
    for each, is_refused in given:
        if is_refused:
            expected[each.n] = Reason.ACCOUNT_NOT_OPEN
        elif left[each.source] - each.amount >= 0:
            left[each.source] -= each.amount
            expected[each.n] = "confirmed"
        else:
            expected[each.n] = "postponed" if round_ is Round.FIRST else Reason.INSUFFICIENT_FUNDS
    decisions = decide([each for each, _ in given], spendable, refused, round_)
    found: dict[int, Reason | str] = {each.n: "postponed" for each in decisions.postponed}
    found |= {each.line.n: each.refusal.reason if each.refusal else "confirmed" for each in decisions.decided}
    assert found == expected


@given(lines_of, balances, st.sampled_from(Round), st.integers(1, 7))
def test_chunks_decide_what_the_whole_file_would(
    given: list[tuple[Line, bool]], spendable: dict[str, int], round_: Round, size: int
) -> None:
    lines = [each for each, _ in given]
    whole = decide(lines, spendable, {}, round_)
    left = dict(spendable)
    decided, postponed = [], []
    for start in range(0, len(lines), size):
        part = decide(lines[start : start + size], left, {}, round_)
        for each in part.decided:
            if each.refusal is None:
                left[each.line.source] -= each.line.amount
        decided += part.decided
        postponed += part.postponed
    assert Decisions(decided, postponed) == whole
