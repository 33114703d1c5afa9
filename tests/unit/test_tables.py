"""Tables at the width of a terminal: nothing is cut, and what is copied stays on one line as long as there is room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.projection.status import rendered as rendered_lag
from cli.recover import command as recover
from cli.recover import in_doubt
from cli.terminal.output import Output, table, table_or
from domain.errors import InvalidInput
from domain.in_doubt import InDoubt, InDoubtReport, Waiting
from domain.orders import OrderStatus
from domain.transfers import TransferState
from shards.monitoring.event_lag import EventsDocument, Parked, ShardEvents
from shardwise.operations.recovered import report_of
from shardwise.operations.recovery import AbandonedOrder, AbandonedTransfer, Found
from shardwise.temporal.refused_starts import RefusedStart
from tests.support.terminal import NOW, drawn

# As long as the ids that `order place` and `transfer` choose, and as most other programs'.
OURS, UUID = "1795811967000-abcdef012345", "6f1d2c3e-0b1a-4c5d-8e9f-a0b1c2d3e4f5"
COLUMNS = ("order", "status", "customer", "total", "placed", "shard")
ROW = (UUID, "rejected: insufficient_funds", "ada-lovelace", "1234.00 USD", "2026-01-31T14:30:00Z", "shard-1")


def test_unbreakable_columns_and_words_stay_whole_as_long_as_there_is_room() -> None:
    roomy, narrow = drawn(table(COLUMNS, [ROW], whole=("order", "customer")), 160), drawn(table(COLUMNS, [ROW]), 112)
    assert all(cell in roomy[3] for cell in ROW)
    assert max(map(len, narrow)) <= 112
    assert all(cell in narrow[2] for cell in (UUID, "ada-lovelace", "2026-01-31T14:30:00Z"))
    assert "insufficient_funds" in narrow[3]


@given(
    cells=st.lists(st.lists(st.text("ab c-:", max_size=110), min_size=4, max_size=4), min_size=1, max_size=3),
    width=st.integers(60, 200),
)
def test_it_fits_and_nothing_is_lost(cells: list[list[str]], width: int) -> None:
    lines = drawn(table(("w", "x", "y", "z"), cells), width)
    assert max(map(len, lines)) <= width
    shown = "".join(lines)
    for letter in "abc:":
        assert shown.count(letter) == sum(cell.count(letter) for row in cells for cell in row)


SAGAS = [f"transfer ada {OURS}", f"order {UUID}", "opening ada"]
STATEMENT = [
    ("2026-01-31T14:30:00Z", "transfer", saga, "-14.00", "986.00", side)
    for saga, side in zip(SAGAS, ["grace", "merchant.USD", "equity/USD"], strict=True)
]


def test_a_statement_has_whole_times_amounts_and_ids_in_a_hundred_columns() -> None:
    columns = ("at", "kind", "saga", "amount", "balance after", "other side")
    words = ("kind", "saga", "amount", "balance after")
    lines = drawn(table(columns, STATEMENT, whole=("at", "other side"), words=words), 100)
    assert max(map(len, lines)) <= 100
    assert sum("2026-01-31T14:30:00Z" in line and "-14.00" in line for line in lines) == 3
    for whole in (OURS, UUID, "merchant.USD", "equity/USD", "transfer"):
        assert any(whole in line for line in lines), (whole, lines)


@pytest.mark.parametrize("title", [None, "account ada: 0.00 USD"])
def test_an_empty_list_is_shown_in_words(title: str | None) -> None:
    shown = drawn(table_or(table(COLUMNS, [], title), "no orders"), 100)
    assert shown == [f"{title}: no orders" if title else "no orders"]
    assert drawn(table_or(table(COLUMNS, [ROW], title), "no orders"), 100) == drawn(table(COLUMNS, [ROW], title), 100)


def test_control_characters_are_written_out_and_measured_so() -> None:
    lines = drawn(table(("order", "status"), [("\x1b[31mred\u202e", "stuck")]), 60)
    assert any("\\x1b[31mred\\u202e" in line for line in lines), lines
    assert len({len(line) for line in lines}) == 1


def test_a_name_is_no_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    Output().result({}, table(("name",), [(":coffee:",)]))
    assert ":coffee:" in capsys.readouterr().out


GID = f"shardwise:transfer/ada/{OURS}:source"
SWEPT = InDoubtReport([], [Waiting(GID, "shard-1", 90.0, "its workflow runs, and has not decided it yet")], [])
FOUND = Found(
    orders=[AbandonedOrder(UUID, OrderStatus.COMPENSATING)],
    transfers=[AbandonedTransfer(f"transfer/{UUID}/{OURS}", TransferState.PENDING)],
    batches=[UUID],
    refused=[
        RefusedStart(f"order/{UUID}", InvalidInput("order.lines", "order.lines: expected 1 to 1000 lines, got 0"))
    ],
    damage=[],
)
PARKED = Parked(
    consumer="reactors", aggregate="order", aggregate_id=UUID, version=12, reason="no such row " * 9, parked_at=NOW
)
EVENTS = EventsDocument(versions=["live"], alarm=True, shards=[ShardEvents(shard="shard-1", parked=[PARKED])])


@pytest.mark.parametrize(
    ("human", "copied"),
    [
        (in_doubt.alarm([InDoubt(GID, "shard-1", 90.0)]), [GID]),
        (list(in_doubt.rendered(SWEPT, dry_run=True)), [GID]),
        (recover._rendered(report_of(FOUND, InDoubtReport([], [], []), dry_run=True)), [UUID, OURS, f"order/{UUID}"]),
        (rendered_lag(EVENTS), [f"order {UUID}, version 12"]),
    ],
)
def test_what_an_operator_copies_is_on_one_line_of_a_hundred_columns(human: object, copied: list[str]) -> None:
    parts = human if isinstance(human, list) else [human]
    lines = [line for part in parts for line in drawn(part, 100)]
    assert max(map(len, lines)) <= 100
    for each in copied:
        assert any(each in line for line in lines), (each, lines)


def test_if_the_columns_do_not_fit_beside_each_other_each_has_a_line() -> None:
    two = [(UUID, "confirmed", UUID, "1234.00 USD", "2026-01-31T14:30:00Z", "shard-1")] * 2
    lines = drawn(table(COLUMNS, two, title="orders", whole=("order", "customer")), 80)
    assert lines[:3] == ["orders", f"order     {UUID}", "status    confirmed"]
    assert lines[7:9] == ["", f"order     {UUID}"]
    assert "placed    2026-01-31T14:30:00Z" in lines
