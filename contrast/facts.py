"""The table of the protocols, as rows of text: shown on a terminal, and written as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from contrast.documents import PROTOCOLS, Border, Cell, ContrastDocument, Cost, Middle, Place, Side
from domain.transfers import Protocol

Row = tuple[str, str, str, str]

COLUMNS: Row = ("", "local (one shard)", "saga", "2pc")
NO_MIDDLE = "has no middle: one transaction"
LEFT_BY_A_CRASH: dict[Protocol, str] = {
    Protocol.LOCAL: "all of it or nothing",
    Protocol.SAGA: "whole transactions: money held, or in clearing, until the workflow goes on; no locks",
    Protocol.TWO_PHASE: "prepared transactions: rows locked and horizons frozen, through restarts too, until decided",
}


def rows(document: ContrastDocument) -> list[Row]:
    """One row for each fact, one column for each protocol, in the order of `COLUMNS`."""
    return [*_load(document), *_costs(document), *_middles(document), _crashes()]


def finding(document: ContrastDocument) -> str:
    """The result in one sentence."""
    longer = document.cost(Protocol.TWO_PHASE).locked_ms / document.cost(Protocol.SAGA).locked_ms
    shares = {place: _share_of_saga(document, place) for place in Place}
    return (
        f"Two-phase commit locks an account {longer:.0f} times as long as a saga, and with "
        f"{document.concurrencies[-1]} transfers at once reaches {shares[Place.SPREAD]:.0%} of its throughput, "
        f"{shares[Place.HOT]:.0%} on a hot account"
    )


def _share_of_saga(document: ContrastDocument, place: Place) -> float:
    """Two-phase commit's throughput as a share of the saga's, at the highest concurrency."""
    most = document.concurrencies[-1]
    rates = {protocol: document.cell(protocol, place, most).per_second for protocol in PROTOCOLS}
    return rates[Protocol.TWO_PHASE] / rates[Protocol.SAGA]


def markdown(document: ContrastDocument) -> str:
    """The table, with the machine that it was measured on."""
    lines = [f"**{finding(document)}.**", "", _measured_on(document), ""]
    lines += [line(COLUMNS), line(("---", "---", "---", "---")), *(line(row) for row in rows(document))]
    return "\n".join(lines) + "\n"


def _measured_on(document: ContrastDocument) -> str:
    machine = document.machine
    per_cell = document.cells[0].transfers
    load = f"{machine.load_average_before:.1f} before and {machine.load_average_after:.1f} after"
    return (
        f"{per_cell} transfers a cell; {len(document.shards)} shards; Postgres {machine.postgres}, "
        f"Python {machine.python}, {machine.system}, {machine.cpus} cores; load average {load}. "
        "Quote the ratios, not the figures."
    )


def line(row: Sequence[str]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _load(document: ContrastDocument) -> list[Row]:
    made = []
    for place in Place:
        for concurrency in document.concurrencies:
            label = f"{place}, {concurrency} at once: transfers/s; p50 / p95 / p99"
            cells = (document.cell(protocol, place, concurrency) for protocol in PROTOCOLS)
            made.append(_row(label, *(_speed(cell) for cell in cells)))
    return made


def _speed(cell: Cell) -> str:
    text = f"{cell.per_second:.1f}; {cell.p50_ms:.0f} / {cell.p95_ms:.0f} / {cell.p99_ms:.0f} ms"
    for reason, count in sorted(cell.declined.items()):
        text += f"; {count} of {cell.transfers} declined: {reason}"
    return text


def _costs(document: ContrastDocument) -> list[Row]:
    costs = [document.cost(protocol) for protocol in PROTOCOLS]
    return [
        _row("alone: latency", *(f"{cost.latency_ms:.0f} ms" for cost in costs)),
        _row("alone: accounts' rows locked, longest (all)", *(_locked(cost) for cost in costs)),
        _row("history events", *(str(cost.history_events) for cost in costs)),
        _row("SQL round trips", *(f"{cost.round_trips:g}" for cost in costs)),
        _row("commits to disk", *(f"{cost.commits:g}" for cost in costs)),
    ]


def _locked(cost: Cost) -> str:
    return f"{cost.locked_ms:.1f} ms ({cost.locked_total_ms:.1f} ms)"


def _middles(document: ContrastDocument) -> list[Row]:
    saga, in_doubt = document.middle(Border.SAGA_IN_CLEARING), document.middle(Border.VOTES_IN)
    half = document.middle(Border.HALF_COMMITTED)
    return [
        _row("in the middle, a reader of both accounts sees", NO_MIDDLE, _seen(saga), _seen(in_doubt)),
        _row("in the middle, another writer of the account", "", _written(saga), _written(in_doubt)),
        _row("in the middle, the outbox of its servers", "", _outbox(saga), _outbox(in_doubt)),
        _row("in the middle, vacuum on its servers", "", _vacuum(saga), _vacuum(in_doubt)),
        _row("between 2PC's two commits", "", "", _half(half)),
    ]


def _seen(middle: Middle) -> str:
    if float(middle.middle.missing) == 0:
        return f"both old balances; nothing missing of {middle.amount}"
    return f"gone from the source, not at the target: {middle.middle.missing} missing"


def _written(middle: Middle) -> str:
    free = [writer for writer in middle.writers if writer.row_free]
    kept = [writer for writer in middle.writers if not writer.row_free]
    parts = []
    if free:
        waited, took = max(each.row_waited_ms for each in free), max(each.transfer_ms for each in free)
        parts.append(
            f"{_sides(each.side for each in free)} free after {waited:.1f} ms, transfers settle in {took:.0f} ms"
        )
    if kept:
        timeout, took = kept[0].lock_timeout_ms, max(each.transfer_ms for each in kept)
        parts.append(
            f"{_sides(each.side for each in kept)} locked: lock_timeout after {timeout} ms, "
            f"transfers wait for the end of the pause ({took:.0f} ms)"
        )
    return "; ".join(parts)


def _outbox(middle: Middle) -> str:
    still = [server for server in middle.servers if not server.watermark_moved]
    if not still:
        return f"moves on; {sum(server.hidden_events for server in middle.servers)} events hidden"
    hidden = " + ".join(str(server.hidden_events) for server in still)
    return f"stands still on {_sides(each.side for each in still)}: {hidden} committed events hidden"


def _vacuum(middle: Middle) -> str:
    if all(server.dead_rows_kept == 0 for server in middle.servers):
        return "removes every dead row"
    kept = " + ".join(_number(server.dead_rows_kept) for server in middle.servers)
    ages = " and ".join(_number(server.horizon_age) for server in middle.servers)
    return f"{kept} dead rows cannot be removed; its horizon is {ages} transactions old"


def _half(middle: Middle) -> str:
    return f"a reader sees {middle.middle.missing} missing; {_written(middle)}; the outbox {_outbox(middle)}"


def _number(number: int | None) -> str:
    return "?" if number is None else str(number)


def _sides(sides: Iterable[Side]) -> str:
    return " and ".join(sides)


def _crashes() -> Row:
    return _row("what a crash leaves", *(LEFT_BY_A_CRASH[protocol] for protocol in PROTOCOLS))


def _row(label: str, *cells: str) -> Row:
    local, saga, two_phase = cells
    return label, local, saga, two_phase
