"""Polls every source on its own and combines their last answers. A source that is down delays no other."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from domain.orders import OrderState
from domain.transfers import TransferState
from shards.audit.sagas.facts import ORDER_PREFIX
from shards.connections.database import Database
from shards.monitoring.event_lag import EventsDocument, events_document
from shards.monitoring.order_counts import OrderCounts, count_orders
from shards.monitoring.replicas import ReplicaDocument, replica_documents
from shards.monitoring.transfer_counts import TransferCounts, count_transfers
from shardwise.connections import Connections
from shardwise.operations.stack_status import address_of
from shardwise.operations.watch.documents import (
    HoldDocument,
    InDoubtDocument,
    OrdersDocument,
    PartDocument,
    RateDocument,
    TransfersDocument,
    WatchDocument,
)
from shardwise.operations.watch.polled_source import PolledSource
from shardwise.operations.watch.sagas import OpenSagas, look_at_sagas
from shardwise.temporal.pollers import PollingWorker, polling_workers, started_by_hand
from stack.embedded.stack import EmbeddedStack
from stack.embedded.status import WorkerStatus
from stack.settings import Settings, resolve_databases

ANSWER_SECONDS = 2.5
FIRST_COUNT_SECONDS = 30.0
RATE_WINDOW_SECONDS = 10.0
# Counting the events that wait and listing the pollers of every queue is too much work for every second.
EVENTS_EVERY_SECONDS = 3.0
# A primary and a replica that both say nothing are given up one after the other.
REPLICAS_SECONDS = 5.0
TEMPORAL = "Temporal"


@dataclass(frozen=True, slots=True)
class ShardCounts:
    orders: OrderCounts
    transfers: TransferCounts


class ShardCounter:
    """One shard's counts and the rate of the last seconds."""

    def __init__(self, shard: Database) -> None:
        self._shard = shard
        self._last: ShardCounts | None = None
        self._looks: deque[tuple[float, int, int]] = deque()
        # Only the first count reads the whole table.
        self.source = PolledSource(shard.name, self._look, FIRST_COUNT_SECONDS)

    async def _look(self) -> ShardCounts:
        last = self._last
        orders = await count_orders(self._shard, last.orders if last else None)
        transfers = await count_transfers(self._shard, last.transfers if last else None)
        self._last = ShardCounts(orders, transfers)
        self.source.limit_seconds = ANSWER_SECONDS
        self._looks.append((time.monotonic(), orders.placed, orders.finished))
        return self._last

    def rates(self) -> tuple[float, float, float] | None:
        """Placed and finished a second, and over how many seconds. None before a second look."""
        while self._looks and self._looks[0][0] < time.monotonic() - RATE_WINDOW_SECONDS:
            self._looks.popleft()
        if len(self._looks) < 2:
            return None
        (began, placed_before, finished_before), (ended, placed, finished) = self._looks[0], self._looks[-1]
        seconds = max(ended - began, 0.001)
        return (placed - placed_before) / seconds, (finished - finished_before) / seconds, seconds


class Watcher:
    def __init__(self, to: Connections, settings: Settings) -> None:
        self._to = to
        self._settings = settings
        self._pings = [PolledSource(each.name, each.ping, ANSWER_SECONDS) for each in to.cluster.databases]
        self._counters = [ShardCounter(each) for each in to.cluster.primaries.values()]
        self._sagas: PolledSource[OpenSagas] = PolledSource(TEMPORAL, self._look_at_sagas, ANSWER_SECONDS)
        self._events: PolledSource[EventsDocument] = PolledSource("events", self._look_at_events, ANSWER_SECONDS)
        self._workers: PolledSource[list[WorkerStatus]] = PolledSource("workers", self._look_at_workers, ANSWER_SECONDS)
        self._pollers: PolledSource[list[PollingWorker]] = PolledSource(
            "pollers", self._look_at_pollers, ANSWER_SECONDS
        )
        self._replicas: PolledSource[list[ReplicaDocument]] = PolledSource(
            "replicas", self._look_at_replicas, REPLICAS_SECONDS
        )
        self._where = _addresses(settings)

    @asynccontextmanager
    async def watching(self, every_seconds: float) -> AsyncIterator[None]:
        """Polls the sources inside the block."""
        tasks = [asyncio.create_task(source.poll_every(every_seconds)) for source in self._all_sources()]
        for source in (self._events, self._pollers):
            tasks.append(asyncio.create_task(source.poll_every(max(every_seconds, EVENTS_EVERY_SECONDS))))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)

    async def look_twice(self, apart_seconds: float) -> None:
        """Polls every source once, and the shards again after a while: a rate needs two looks."""
        await asyncio.gather(*(source.poll() for source in (*self._all_sources(), self._events, self._pollers)))
        await asyncio.sleep(apart_seconds)
        await asyncio.gather(*(counter.source.poll() for counter in self._counters if counter.source.error is None))

    def document(self) -> WatchDocument:
        sagas = self._sagas.value
        return WatchDocument(
            at=datetime.now(UTC),
            parts=[*self._servers(), self._temporal(), *self._worker_parts()],
            orders=self._orders(),
            rate=self._rate(),
            in_flight=sagas.in_flight if sagas else None,
            refused=sagas.refused if sagas else None,
            others=sagas.others if sagas else None,
            stuck=sagas.shown if sagas else [],
            oldest_hold=self._oldest_hold(),
            transfers=self._transfers(),
            in_doubt=self._in_doubt(),
            events=self._events.value,
            replicas=self._replicas.value or [],
            missing={
                source.name: source.error
                for source in (*self._number_sources(), self._events)
                if source.error is not None
            },
        )

    def _all_sources(self) -> Iterable[PolledSource[Any]]:
        yield from self._number_sources()
        yield from self._pings
        if self._to.cluster.replicas:
            yield self._replicas
        if not self._settings.own_servers:
            yield self._workers

    def _number_sources(self) -> Iterable[PolledSource[Any]]:
        yield from (counter.source for counter in self._counters)
        yield self._sagas

    async def _look_at_sagas(self) -> OpenSagas:
        client = await self._to.temporal()
        self._where[TEMPORAL] = client.service_client.config.target_host
        return await look_at_sagas(client)

    async def _look_at_events(self) -> EventsDocument:
        return await events_document(self._to.cluster, self._settings.lag_alarm_seconds)

    async def _look_at_replicas(self) -> list[ReplicaDocument]:
        return await replica_documents(self._to.cluster, self._settings.replica_lag_bytes_max)

    async def _look_at_pollers(self) -> list[PollingWorker]:
        return await polling_workers(await self._to.temporal())

    async def _look_at_workers(self) -> list[WorkerStatus]:
        return await EmbeddedStack(self._settings.data_dir, self._settings).workers()

    # ── combining ────────────────────────────────────────────────────────────────────────────────────

    def _servers(self) -> Iterable[PartDocument]:
        for ping in self._pings:
            kind = "shard" if ping.name in self._to.cluster.primaries else "database"
            yield _part(ping, kind, self._where[ping.name])

    def _temporal(self) -> PartDocument:
        return _part(self._sagas, "temporal", self._where.get(TEMPORAL, ""))

    def _worker_parts(self) -> Iterable[PartDocument]:
        for worker in self._workers.value or ():
            why = None if worker.up else "its process is gone" if worker.pid is None else "it does not poll"
            where = ", ".join(worker.queues)
            yield PartDocument(name=worker.name, kind="worker", where=where, up=worker.up, why=why)
        if not self._settings.own_servers and self._workers.value is None:
            return
        # It is not known which others there should be: one that is gone cannot be shown as missing.
        for poller in started_by_hand(self._pollers.value or (), self._workers.value or ()):
            where = ", ".join(poller.queues)
            yield PartDocument(name=poller.identity, kind="worker", where=where, up=True, why=None)

    def _orders(self) -> OrdersDocument:
        counts = [each.orders for each in self._counts()]

        def total(state: OrderState) -> int | None:
            return sum(each.by_state.get(state, 0) for each in counts) if counts else None

        return OrdersDocument(
            pending=total(OrderState.PENDING),
            compensating=total(OrderState.ABORTING),
            confirmed=total(OrderState.CONFIRMED),
            rejected=total(OrderState.REJECTED),
            cancelled=total(OrderState.CANCELLED),
            stuck=self._sagas.value.stuck if self._sagas.value else None,
        )

    def _counts(self) -> list[ShardCounts]:
        return [counter.source.value for counter in self._counters if counter.source.value is not None]

    def _transfers(self) -> TransfersDocument:
        counts, sagas = [each.transfers for each in self._counts()], self._sagas.value

        def total(state: TransferState) -> int | None:
            return sum(each.by_state.get(state, 0) for each in counts) if counts else None

        return TransfersDocument(
            in_flight=sagas.transfers if sagas else None,
            batches=sagas.batches if sagas else None,
            stuck=sagas.stuck_transfers if sagas else None,
            pending=total(TransferState.PENDING),
            settled=total(TransferState.CONFIRMED),
            declined=total(TransferState.DECLINED),
        )

    def _in_doubt(self) -> InDoubtDocument | None:
        events = self._events.value
        if events is None:
            return None
        ages = [each.seconds for shard in events.shards for each in shard.in_doubt]
        oldest = max(ages, default=None)
        alarm = oldest is not None and oldest > self._settings.in_doubt_alarm_seconds
        return InDoubtDocument(transactions=len(ages), oldest_seconds=oldest, alarm=alarm)

    def _rate(self) -> RateDocument:
        rates = [rates for counter in self._counters if (rates := counter.rates()) is not None]
        if not rates:
            return RateDocument(placed_per_second=None, finished_per_second=None, over_seconds=0)
        placed, finished = sum(each[0] for each in rates), sum(each[1] for each in rates)
        return RateDocument(
            placed_per_second=round(placed, 2),
            finished_per_second=round(finished, 2),
            over_seconds=round(max(each[2] for each in rates), 1),
        )

    def _oldest_hold(self) -> HoldDocument | None:
        holds = (each.orders.oldest_hold for each in self._counts())
        hold = max((hold for hold in holds if hold is not None), key=lambda each: each.age_seconds, default=None)
        if hold is None:
            return None
        return HoldDocument(
            order_id=hold.saga_id.removeprefix(ORDER_PREFIX),
            account_id=hold.account_id,
            amount=hold.amount.amount,
            currency=hold.amount.currency,
            shard=hold.shard,
            placed_at=hold.placed_at,
            age_seconds=hold.age_seconds,
        )


def _part(source: PolledSource[Any], kind: str, where: str) -> PartDocument:
    up = source.error is None if source.was_polled else None
    return PartDocument.model_validate(
        {"name": source.name, "kind": kind, "where": where, "up": up, "why": source.error if up is False else None}
    )


def _addresses(settings: Settings) -> dict[str, str]:
    """Without users and passwords."""
    databases = resolve_databases(settings)
    dsns = {**databases.shards, "catalog": databases.catalog, "read_model": databases.read_model}
    return {name: address_of(dsn) for name, dsn in dsns.items()}
