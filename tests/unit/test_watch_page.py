"""The page of `watch`, and a source that fails alone."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from cli.watch.page import Wrapped, page
from domain.errors import Unreachable
from domain.replicas import LeftOut
from shards.monitoring.event_lag import ConsumerLag, EventsDocument, Parked, ShardEvents
from shards.monitoring.replicas import ReplicaDocument
from shardwise.operations.watch.documents import (
    HoldDocument,
    InDoubtDocument,
    OrdersDocument,
    PartDocument,
    RateDocument,
    StuckDocument,
    TransfersDocument,
    WatchDocument,
)
from shardwise.operations.watch.polled_source import PolledSource
from tests.support.terminal import NOW
from tests.support.terminal import drawn as lines_of

UNKNOWN = OrdersDocument(pending=None, compensating=None, confirmed=None, rejected=None, cancelled=None, stuck=None)
NO_TRANSFERS = TransfersDocument(in_flight=None, batches=None, stuck=None, pending=None, settled=None, declined=None)
NO_RATE = RateDocument(placed_per_second=None, finished_per_second=None, over_seconds=0)


def drawn(look: WatchDocument, width: int = 80) -> list[str]:
    return lines_of(page(look, "every 1 s"), width)


def quiet(**changes: Any) -> WatchDocument:
    """A page with nothing to report, but for `changes`."""
    look: dict[str, Any] = {
        "at": NOW,
        "parts": [],
        "orders": UNKNOWN,
        "rate": NO_RATE,
        "in_flight": 0,
        "refused": 0,
        "others": 0,
        "stuck": [],
        "oldest_hold": None,
        "transfers": NO_TRANSFERS,
        "in_doubt": None,
        "events": None,
        "missing": {},
    }
    return WatchDocument(**look | changes)


@pytest.mark.parametrize("width", [80, 100, 120])
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
        others=3,
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
        transfers=TransfersDocument(
            in_flight=1_234, batches=12, stuck=3, pending=1_000_000, settled=123_456_789, declined=1_234_567
        ),
        in_doubt=InDoubtDocument(transactions=3, oldest_seconds=125, alarm=True),
        events=None,
        missing={"shard-2": "it is gone"},
    )
    lines = drawn(look, width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert "● shard-1" in text
    assert "✘ shard-2" in text
    assert "… catalog" in text
    assert "shard-2 does not answer: it is gone" in text
    assert "9,876,543" in text
    assert "placed 61.3/s, finished 60.0/s over the last 10 s" in text
    assert "84.00 USD on account ada (shard-1) for 10 min, order O1" in text
    assert "bug │ 5 s" in text
    assert "an operator: order" in text
    assert "no answer from shard-2" in text
    assert "in flight ┃ batches ┃ stuck ┃ pending ┃ settled ┃ declined" in text
    assert "1,234 │ 12 │ 3 │ 1,000,000 │ 123,456,789 │ 1,234,567" in text
    assert "in doubt: 3 prepared transactions, the oldest for 2 min: `shardwise recover`" in text
    assert "2026-11-25T12:00:00Z" in text


def test_replicas_are_shown_where_there_are_any() -> None:
    away = ReplicaDocument(
        name="shard-1-replica-1",
        shard="shard-1",
        weight=3,
        fit=False,
        left_out=LeftOut.LAGGING,
        why="it is further behind than SHARDWISE_REPLICA_LAG_BYTES_MAX allows",
        streaming=True,
        lag_bytes=123_456_789,
        lag_seconds=98.76,
    )
    look = quiet(replicas=[away])
    text = " ".join(" ".join(lines_of(Wrapped(page(look)), 80)).split())
    assert "shard-1-replica-1 │ 123,456,789 bytes, 98.8 s │ 3 │ left out" in text
    assert "left out of reads: shard-1-replica-1: it is further behind than" in text
    assert look.exit_code == 0
    [shown] = look.model_dump(mode="json")["replicas"]
    assert (shown["left_out"], shown["lag_bytes"]) == ("lagging", 123_456_789)
    assert "replicas" not in quiet().model_dump(mode="json")
    assert "replica" not in " ".join(drawn(quiet()))


def test_what_is_not_known_yet_is_not_shown_as_nothing() -> None:
    text = "\n".join(drawn(quiet(in_flight=None, refused=None, others=None, missing={"s": "x"})))
    assert "in doubt: not known yet" in text
    assert "rate: not known yet" in text
    assert "events: not known yet" in text
    assert "no payment is on hold" not in text
    assert "no order is stuck" not in text
    assert "0" not in text.split("orders", 1)[1]


IN_DOUBT = InDoubtDocument(transactions=1, oldest_seconds=5, alarm=False)
SHARD = PartDocument(name="shard-1", kind="shard", where="", up=True, why=None)


@pytest.mark.parametrize(
    ("look", "exit_code"),
    [
        (quiet(parts=[SHARD]), 0),
        (quiet(in_doubt=IN_DOUBT), 0),
        (quiet(in_doubt=IN_DOUBT.model_copy(update={"alarm": True})), 1),
        (quiet(events=EventsDocument(versions=["live"], alarm=False, shards=[])), 0),
        (quiet(events=EventsDocument(versions=["live"], alarm=True, shards=[])), 1),
        (quiet(parts=[SHARD.model_copy(update={"up": False})], in_doubt=IN_DOUBT), 3),
        (quiet(missing={"Temporal": "it is gone"}), 3),
    ],
)
def test_watch_once_exits_as_status_does(look: WatchDocument, exit_code: int) -> None:
    assert look.exit_code == exit_code


def test_a_transaction_in_doubt_for_a_moment_is_shown_without_an_alarm() -> None:
    text = "\n".join(drawn(quiet(in_doubt=IN_DOUBT)))
    assert "in doubt: 1 prepared transaction, the oldest for 5 s\n" in text
    calm = InDoubtDocument(transactions=0, oldest_seconds=None, alarm=False)
    assert "in doubt: nothing\n" in "\n".join(drawn(quiet(in_doubt=calm)))


def test_lag_parked_events_and_a_restored_shard_are_shown_with_what_to_type() -> None:
    parked = Parked(
        consumer="live", aggregate="order", aggregate_id="O-7", version=2, reason="there is no such row", parked_at=NOW
    )
    lags = [
        ConsumerLag(consumer="live", events=12, seconds=90, history_lost=True),
        ConsumerLag(consumer="reactors", events=0, seconds=0),
    ]
    shard = ShardEvents(shard="shard-2", consumers=lags, parked=[parked] * 7)
    events = EventsDocument(versions=["live"], alarm=True, shards=[shard], map=["the catalog is older: run this"])
    look = quiet(events=events)
    assert look.exit_code == 1
    text = " ".join(drawn(look, 200))
    assert "events: read model 12 behind for 90 s, reactors up to date" in text
    assert "shard-2 and the read model are of different histories" in text
    assert "run `shardwise recover`, then `shardwise projection rebuild`" in " ".join(text.split())
    assert "the catalog is older: run this" in text
    assert text.count("parked on shard-2 by read model: order O-7, version 2: there is no such row") == 5
    assert "and 2 more (`shardwise projection status`)" in text


def test_a_shard_that_is_away_is_not_shown_as_up_to_date() -> None:
    here = ShardEvents(shard="shard-1", consumers=[ConsumerLag(consumer="live", events=0, seconds=0)])
    away = ShardEvents(shard="shard-2", error="shard-2 does not answer")
    calm = InDoubtDocument(transactions=0, oldest_seconds=None, alarm=False)
    look = quiet(events=EventsDocument(versions=["live"], alarm=False, shards=[here, away]), in_doubt=calm)
    lines = drawn(look, 100)
    assert "events: read model up to date (without shard-2)" in lines
    assert "in doubt: nothing (without shard-2)" in lines


@pytest.mark.parametrize("width", [80, 100])
def test_a_live_page_wraps_what_is_copied_and_cuts_nothing(width: int) -> None:
    hold = HoldDocument(
        order_id="1795815043410-586e6ae146e0",
        account_id="6f1d2c3e-0b1a-4c5d-8e9f-a0b1c2d3e4f5",
        amount="84.00",
        currency="USD",
        shard="shard-1",
        placed_at=NOW,
        age_seconds=600,
    )
    down = PartDocument(
        name="shard-2", kind="shard", where="", up=False, why="it does not answer: " + "x " * 60 + "end"
    )
    lines = lines_of(Wrapped(page(quiet(parts=[down], oldest_hold=hold))), width)
    assert max(map(len, lines)) <= width
    assert any(line.endswith(" end") for line in lines)
    for copied in (hold.order_id, hold.account_id):
        assert any(copied in line for line in lines)


@pytest.mark.parametrize("width", [80, 100])
def test_control_characters_in_ids_are_written_out(width: int) -> None:
    key = "a\x1b[2J\nb\u202e"
    stuck = StuckDocument(order_id=key, age_seconds=5, step=None, attempts=None, failure=key, next_attempt_at=None)
    down = PartDocument(name=key, kind="worker", where="", up=False, why=key)
    lines = drawn(quiet(parts=[down], stuck=[stuck]), width)
    shown = "\n".join(lines)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert shown.count("a\\x1b[2J\\nb\\u202e") == 5, shown
    assert max(map(len, lines)) <= width


async def test_a_source_that_hangs_or_fails_is_shown_with_its_last_answer() -> None:
    async def hangs() -> int:
        await asyncio.Event().wait()
        return 0

    async def fails() -> int:
        raise Unreachable("shard_unreachable", "shard-1 does not answer\nmore")

    async def answers() -> int:
        return 7

    gauge = PolledSource("a source", answers, limit_seconds=5)
    assert not gauge.was_polled
    await gauge.poll()
    assert (gauge.value, gauge.error) == (7, None)
    gauge._look = fails
    await gauge.poll()
    assert (gauge.value, gauge.error) == (7, "shard-1 does not answer")
    gauge._look, gauge.limit_seconds = hangs, 0.01
    await gauge.poll()
    assert (gauge.value, gauge.error) == (7, "no answer within 0.01 s")
