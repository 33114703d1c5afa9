"""The page of `watch`, and a source that fails alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from cli.projection_lag import ConsumerLag, EventsDocument, Parked, ShardEvents
from cli.watch.documents import (
    HoldDocument,
    OrdersDocument,
    PartDocument,
    RateDocument,
    StuckDocument,
    WatchDocument,
)
from cli.watch.gauge import Gauge
from cli.watch.page import page
from domain.errors import Unreachable

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
UNKNOWN = OrdersDocument(pending=None, compensating=None, confirmed=None, rejected=None, cancelled=None, stuck=None)
NO_RATE = RateDocument(placed_per_second=None, finished_per_second=None, over_seconds=0)


def drawn(look: WatchDocument, width: int = 80) -> list[str]:
    console = Console(width=width, soft_wrap=True, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(page(look, "every 1 s"))
    return [line.rstrip() for line in capture.get().splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_a_busy_page_fits_and_shows_what_is_wrong(width: int) -> None:
    look = WatchDocument(
        at=NOW,
        parts=[
            PartDocument(name="shard-1", kind="shard", where="", up=True, why=None),
            PartDocument(name="shard-2", kind="shard", where="", up=False, why="shard-2 does not answer: it is gone"),
            PartDocument(name="catalog", kind="database", where="", up=None, why=None),
        ],
        orders=OrdersDocument(
            pending=12_345, compensating=1, confirmed=9_876_543, rejected=123_456, cancelled=12_345, stuck=17
        ),
        rate=RateDocument(placed_per_second=61.3, finished_per_second=60.0, over_seconds=10),
        in_flight=1_234,
        refused=2,
        stuck=[
            StuckDocument(
                order_id="x" * 100,
                age_seconds=7200,
                step="reserve_stock",
                attempts=12,
                failure="shard-2 does not answer",
                next_attempt_at=NOW + timedelta(seconds=3),
            ),
            StuckDocument(order_id="bug", age_seconds=5, step=None, attempts=None, failure=None, next_attempt_at=None),
        ],
        oldest_hold=HoldDocument(
            order_id="O1",
            account_id="ada",
            amount="84.00",
            currency="USD",
            shard="shard-1",
            placed_at=NOW,
            age_seconds=600,
        ),
        events=None,
        missing={"shard-2": "it is gone"},
    )
    lines = drawn(look, width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert "● shard-1" in text
    assert "✘ shard-2" in text
    assert "… catalog" in text
    assert "shard-2 is down: does not answer: it is gone" in text
    assert "9,876,543" in text
    assert "placed 61.3/s, finished 60.0/s over the last 10 s" in text
    assert "84.00 USD on account ada (shard-1) for 10 min, order O1" in text
    assert "bug │ 5 s" in text
    assert "an operator: order" in text
    assert "without an answer from shard-2" in text


def test_what_nobody_has_told_yet_is_not_told_as_nothing() -> None:
    look = WatchDocument(
        at=NOW,
        parts=[],
        orders=UNKNOWN,
        rate=NO_RATE,
        in_flight=None,
        refused=None,
        stuck=[],
        oldest_hold=None,
        events=None,
        missing={"s": "x"},
    )
    text = "\n".join(drawn(look))
    assert "rate: not known yet" in text
    assert "events: not known yet" in text
    assert "no payment is on hold" not in text
    assert "no order is stuck" not in text
    assert "0" not in text.split("orders", 1)[1]


def test_lag_parked_events_and_a_restored_shard_are_told_with_what_to_type() -> None:
    parked = Parked(
        consumer="live", aggregate="order", aggregate_id="O-7", version=2, reason="there is no such row", parked_at=NOW
    )
    lags = [
        ConsumerLag(consumer="live", events=12, seconds=90, history_lost=True),
        ConsumerLag(consumer="reactors", events=0, seconds=0),
    ]
    shard = ShardEvents(shard="shard-2", consumers=lags, parked=[parked] * 7)
    events = EventsDocument(versions=["live"], alarm=True, shards=[shard], map=["the catalog is older: run this"])
    look = WatchDocument(
        at=NOW,
        parts=[],
        orders=UNKNOWN,
        rate=NO_RATE,
        in_flight=0,
        refused=0,
        stuck=[],
        oldest_hold=None,
        events=events,
        missing={},
    )
    text = " ".join(drawn(look, 200))
    assert "events: read model 12 behind for 90 s, reactors up to date" in text
    assert "shard-2 and the read model are of different histories" in text
    assert "run `shardwise recover`, then `shardwise projection rebuild`" in " ".join(text.split())
    assert "the catalog is older: run this" in text
    assert text.count("parked on shard-2 by read model: order O-7, version 2: there is no such row") == 5
    assert "and 2 more (`shardwise projection status`)" in text


async def test_a_source_that_hangs_or_fails_is_shown_with_its_last_answer() -> None:
    async def hangs() -> int:
        await asyncio.Event().wait()
        return 0

    async def fails() -> int:
        raise Unreachable("shard_unreachable", "shard-1 does not answer\nmore")

    async def answers() -> int:
        return 7

    gauge = Gauge("a source", answers, limit_seconds=5)
    assert not gauge.was_asked
    await gauge.ask()
    assert (gauge.value, gauge.error) == (7, None)
    gauge._look = fails
    await gauge.ask()
    assert (gauge.value, gauge.error) == (7, "shard-1 does not answer")
    gauge._look, gauge.limit_seconds = hangs, 0.01
    await gauge.ask()
    assert (gauge.value, gauge.error) == (7, "no answer within 0.01 s")
