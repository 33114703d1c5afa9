"""The table of the two styles of an order, as rows of text."""

from __future__ import annotations

from contrast.documents import ContrastDocument, StyleCell
from contrast.facts import line
from domain.orders import Style

Row = tuple[str, str, str]

STYLES = (Style.ORCHESTRATED, Style.CHOREOGRAPHED)
COLUMNS: Row = ("", *STYLES)
_TO_READ: Row = (
    "to see the state of an order, read",
    "its row, or its one workflow: the history is the story",
    "its row: the newest event, and who reacts to it next; the story is in all reactors' histories (`order trace`)",
)
_TO_CHANGE: Row = (
    "a further step is",
    "a line in the one workflow, of the team that owns it",
    "a reactor of the team that wants it; nobody else changes, and nobody sees the whole",
)


def rows(document: ContrastDocument) -> list[Row]:
    """One row for each fact, one column for each style, in the order of `COLUMNS`."""
    costs = [document.style_cost(style) for style in STYLES]
    return [
        *(_speed(document, concurrency) for concurrency in document.concurrencies),
        _row("alone: latency", *(f"{cost.latency_ms:.0f} ms" for cost in costs)),
        _row("workflows", *(str(cost.workflows) for cost in costs)),
        _row("history events", *(str(cost.history_events) for cost in costs)),
        _row("outbox events", *(str(cost.outbox_events) for cost in costs)),
        _TO_READ,
        _TO_CHANGE,
    ]


def finding(document: ContrastDocument) -> str:
    """The result in one sentence."""
    most = document.concurrencies[-1]
    orchestrated, choreographed = (document.style_cell(style, most) for style in STYLES)
    one, many = (document.style_cost(style) for style in STYLES)
    return (
        f"Without a coordinator an order takes {many.workflows} workflows and {many.history_events} history events for "
        f"{one.history_events}, {many.latency_ms / one.latency_ms:.1f} times as long, and with {most} at once reaches "
        f"{choreographed.per_second / orchestrated.per_second:.0%} of the throughput"
    )


def markdown(document: ContrastDocument) -> str:
    head = [
        f"**{finding(document)}.**",
        "",
        f"{document.style_cells[0].orders} orders a cell, two stock shards each.",
        "",
    ]
    return "\n".join([*head, line(COLUMNS), line(("---",) * 3), *(line(row) for row in rows(document))]) + "\n"


def _speed(document: ContrastDocument, concurrency: int) -> Row:
    cells = (document.style_cell(style, concurrency) for style in STYLES)
    return _row(f"{concurrency} at once: orders/s; p50 / p95 / p99", *(_cell_text(cell) for cell in cells))


def _cell_text(cell: StyleCell) -> str:
    return f"{cell.per_second:.1f}; {cell.p50_ms:.0f} / {cell.p95_ms:.0f} / {cell.p99_ms:.0f} ms"


def _row(label: str, *cells: str) -> Row:
    orchestrated, choreographed = cells
    return label, orchestrated, choreographed
