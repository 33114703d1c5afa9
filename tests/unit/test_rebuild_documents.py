"""What a rebuild reports of wrong versions: rows are counted as rows, and whatever else is wrong beside them."""

from __future__ import annotations

from activities.interfaces import Compared, ComparedRows
from cli.projection.command import _rebuilt
from shardwise.operations.rebuilt import document_of
from tests.support.terminal import drawn
from workflows.interfaces import Phase, Rebuilt

LOST = "shard-1 and the read model are of different histories"
MISSING = "order O-1 is missing in the read model"


def report_of(phase: Phase, **versions: ComparedRows) -> str:
    rebuilt = Rebuilt(phase=phase, compared={"shard-1": Compared(**versions)})
    return "\n".join(drawn(_rebuilt(document_of(rebuilt, 1.0)), 200))


def test_a_history_that_was_lost_is_no_row() -> None:
    tables = {"order_details": 3, "sales": 2}
    text = report_of(Phase.SWITCHED, live=ComparedRows(90, 0, 6, tables, (LOST, MISSING)))
    assert "wrong in the one before: 5 rows (3 of order_details, 2 of sales) and 1 thing beside rows" in text
    assert LOST in text


def test_damage_beside_rows_is_reported_too() -> None:
    text = report_of(Phase.DAMAGED, next=ComparedRows(90, 0, 2, {}, ("a sum", "a name")))
    assert "not switched: the new version is not what the shards say" in text
    assert "wrong in the new version: 2 things beside rows" in text
