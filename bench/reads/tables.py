"""The tables of a run, as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from bench.reads.documents import Cell, Orders, ReadsDocument, Spread, Variant
from contrast.facts import line

LEVELS = (
    "replay delay",
    "variant",
    "read p50 / p99",
    "write p50",
    "by replicas",
    "waited",
    "stale answers",
    "behind p50 / max",
    "own write missing",
    "went back",
)
SPREAD = ("reads", "server", "weight", "reads there", "share", "expected")


def markdown(document: ReadsDocument) -> str:
    parts = [
        f"**{finding(document)}.**",
        _measured_on(document),
        f"The mix: {document.mix}.",
        _table(LEVELS, [_level(cell) for cell in document.cells]),
        _of_the_cache(document),
        *_of_spreads(document),
        *([_of_orders(document.orders)] if document.orders is not None else []),
    ]
    return "\n\n".join(parts) + "\n"


def finding(document: ReadsDocument) -> str:
    """The result in one sentence."""
    tokens = [document.cell(delay, Variant.READ_YOUR_WRITES) for delay in document.delays]
    eventual = document.cell(document.delays[-1], Variant.EVENTUAL)
    missing = sum(each.own_missing for each in tokens)
    return (
        f"Replicas that are {_listed([str(each.delay_ms) for each in tokens])} ms behind answer "
        f"{_listed([f'{each.by_replicas:.0%}' for each in tokens])} of the reads that must show the caller's own "
        f"writes; {missing or 'none'} lacked one, where {eventual.own_missing} of {eventual.reads:,} eventual reads did"
    )


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _measured_on(document: ReadsDocument) -> str:
    machine = document.machine
    load = f"{machine.load_average_before:.1f} before and {machine.load_average_after:.1f} after"
    return (
        f"{document.shards} shards with {document.replicas} replicas each; Postgres {machine.postgres}, "
        f"Python {machine.python}, {machine.system}, {machine.cpus} cores; load average {load}. "
        "Quote the ratios, not the figures."
    )


def _level(cell: Cell) -> tuple[str, ...]:
    by = f"{cell.by_replicas:.1%}" + (f", {cell.by_cache:.1%} by the cache" if cell.by_cache else "")
    behind = f"{cell.behind_p50_ms:.0f} / {cell.behind_max_ms:.0f} ms, {_writes(cell.versions_behind_max)}"
    return (
        f"{cell.delay_ms} ms",
        cell.variant,
        f"{cell.p50_ms:.1f} / {cell.p99_ms:.1f} ms",
        f"{cell.write_p50_ms:.1f} ms",
        by,
        f"{cell.waited:.1%}",
        f"{cell.stale:.1%}" if cell.stale else "none",
        behind if cell.stale else "",
        _of(cell.own_missing, cell.reads),
        _of(cell.went_back, cell.reads),
    )


def _writes(count: int) -> str:
    return "1 write" if count == 1 else f"{count} writes"


def _of(count: int, reads: int) -> str:
    return f"{count} of {reads:,}" if count else "0"


def _of_the_cache(document: ReadsDocument) -> str:
    """Where it lies, by whom the write was that it does not show."""
    delay = document.delays[-1]
    cache, tokens = document.cell(delay, Variant.CACHE), document.cell(delay, Variant.READ_YOUR_WRITES)
    own = sum(document.cell(each, Variant.CACHE).own_missing for each in document.delays)
    hidden = sum(document.cell(each, Variant.CACHE).hidden for each in document.delays)
    back = sum(document.cell(each, Variant.CACHE).went_back for each in document.delays)
    reads = sum(document.cell(each, Variant.CACHE).reads for each in document.delays)
    return (
        f"**The session cache lies.** Each device keeps what it wrote for {document.cache_seconds:g} s, and reads that "
        f"first. Of {reads:,} answers {own} lacked a write that the same user had made on the other device; "
        f"{hidden} came out of the cache although another user's newer write of that row was acknowledged; {back} were "
        f"older than what the user had been shown. At {delay} ms a read took {cache.p50_ms:.1f} ms (p50), one with "
        f"tokens {tokens.p50_ms:.1f}; a write {cache.write_p50_ms:.1f} and {tokens.write_p50_ms:.1f}."
    )


def _of_spreads(document: ReadsDocument) -> Iterator[str]:
    if document.spread_exact:
        yield "How the replicas of a shard share the reads of one process:"
        yield _table(SPREAD, [row for spread in document.spread_exact for row in _spread(spread)])
    if document.spread_of_processes:
        yield "The same where each read is a process of its own, which begins anywhere:"
        yield _table(SPREAD, [row for spread in document.spread_of_processes for row in _spread(spread)])


def _spread(spread: Spread) -> Iterator[tuple[str, ...]]:
    for n, each in enumerate(spread.shares):
        expected = f"{each.expected:.1%}" if each.expected is not None else ""
        what = spread.what if n == 0 else ""
        yield what, each.server, str(each.weight), f"{each.reads:,}", f"{each.share:.1%}", expected


def _of_orders(orders: Orders) -> str:
    ratios = orders.ratios
    replicas = "a replica" if orders.replicas == 1 else f"{orders.replicas} replicas"
    rates = statistics.median(orders.with_replicas), statistics.median(orders.without)
    return (
        f"**Orders with {replicas} of each shard beside orders without, round by round: "
        f"{statistics.median(ratios):.2f}** ({ratios[0]:.2f}-{ratios[-1]:.2f}); {rates[0]:.1f} and {rates[1]:.1f} "
        f"orders/s, rounds of {orders.orders} in turns, one worker."
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([line(columns), line(["---"] * len(columns)), *(line(row) for row in rows)])
