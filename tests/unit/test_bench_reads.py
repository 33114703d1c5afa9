"""What a bench of levels makes of its figures: what it finds broken, the tables and the picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.reads.documents import Cell, Orders, ReadsDocument, Share, Spread, Variant
from bench.reads.mix import Ledger
from bench.reads.plot import write_plot
from bench.reads.tables import markdown
from contrast.documents import Machine
from domain.balancing import Balancing

MACHINE = Machine(
    cpus=2, system="Linux", python="3.11", postgres="18.4", load_average_before=0.1, load_average_after=1.0
)


def cell(variant: Variant, delay_ms: int = 0, **other: object) -> Cell:
    figures = {
        "delay_ms": delay_ms,
        "variant": variant,
        "reads": 1000,
        "writes": 100,
        "p50_ms": 1.0,
        "p99_ms": 9.0,
        "write_p50_ms": 5.0,
        "by_replicas": 0.0 if variant is Variant.STRONG else 1.0,
        "by_cache": 0.0,
        "waited": 0.0,
        "stale": 0.0,
        "behind_p50_ms": 0.0,
        "behind_max_ms": 0.0,
        "versions_behind_max": 0,
        "own_missing": 0,
        "went_back": 0,
        "hidden": 0,
    }
    return Cell.model_validate({**figures, **other})


def document(*changed: Cell, **other: object) -> ReadsDocument:
    cells = {(delay, variant): cell(variant, delay) for delay in (0, 10) for variant in Variant}
    cells |= {(each.delay_ms, each.variant): each for each in changed}
    known = {"machine": MACHINE, "shards": 2, "replicas": 2, "mix": "…", "cache_seconds": 2.0}
    return ReadsDocument.model_validate({**known, "cells": list(cells.values()), **other})


def spread(balancing: Balancing, *shares: float, slowed: str | None = None) -> Spread:
    expected = None if balancing is Balancing.LEAST_CONNECTIONS else 1 / len(shares)
    servers = [
        Share(server=f"replica-{n}", weight=1, reads=1, share=share, expected=expected)
        for n, share in enumerate(shares, 1)
    ]
    return Spread(what="…", balancing=balancing, reads=100, slowed=slowed, shares=servers)


def test_what_holds_is_not_broken() -> None:
    stale = cell(Variant.EVENTUAL, 10, stale=0.4, own_missing=9, went_back=3)
    even = spread(Balancing.ROUND_ROBIN, 0.49, 0.51)
    slow = [spread(each, 0.2, 0.8, slowed="replica-1") for each in (Balancing.ROUND_ROBIN, Balancing.LEAST_CONNECTIONS)]
    assert list(document(stale, spread_exact=[even, *slow]).broken()) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (cell(Variant.READ_YOUR_WRITES, 0, by_replicas=0.89), "at least 90%"),
        (cell(Variant.READ_YOUR_WRITES, 10, by_replicas=0.49), "at least 50%"),
        (cell(Variant.READ_YOUR_WRITES, 10, own_missing=1), "without a write"),
        (cell(Variant.MONOTONIC, 10, went_back=1), "older than one before"),
        (cell(Variant.STRONG, 10, stale=0.01), "stale"),
    ],
)
def test_each_promise_is_looked_after(changed: Cell, words: str) -> None:
    [found] = document(changed).broken()
    assert words in found


@pytest.mark.parametrize(
    ("found", "count"),
    [
        (spread(Balancing.WEIGHTED, 0.48, 0.52), 2),
        (spread(Balancing.LEAST_CONNECTIONS, 0.3, 0.7, slowed="replica-1"), 1),
    ],
)
def test_shares_that_are_off_are_found(found: Spread, count: int) -> None:
    assert len(list(document(spread_exact=[found]).broken())) == count


def test_an_answer_is_behind_since_the_first_write_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, clock = Ledger(), iter([1.0, 2.0, 3.0])
    monkeypatch.setattr("bench.reads.mix.time.monotonic", lambda: next(clock))
    for version in (2, 4, 3):  # Acknowledged in another order than committed.
        ledger.acknowledged("TEAPOT", version)
    assert ledger.newest("TEAPOT") == 4
    assert ledger.lacking("TEAPOT", 2, 4, at=5.0) == 3.0
    assert ledger.lacking("TEAPOT", 1, 4, at=5.0) == 4.0


def test_the_tables_and_the_picture_are_the_same_each_time(tmp_path: Path) -> None:
    orders = Orders(orders=200, replicas=1, with_replicas=[9.0, 10.0], without=[10.0, 10.0])
    processes = [spread(Balancing.WEIGHTED, 0.25, 0.75)]
    found = document(orders=orders, spread_of_processes=processes, spread_exact=[spread(Balancing.ROUND_ROBIN, 1.0)])
    text = markdown(found)
    assert "round by round: 0.95** (0.90-1.00)" in text
    assert "| 0 ms | session cache | 1.0 / 9.0 ms | 5.0 ms | 100.0% | 0.0% | none |  | 0 | 0 |" in text
    assert markdown(ReadsDocument.model_validate_json(found.model_dump_json())) == text
    first, second = (write_plot(found, tmp_path / name).read_bytes() for name in ("a.svg", "b.svg"))
    assert first == second
