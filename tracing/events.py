"""The events of a choreographed order and its reactors: from the outbox, and from the reactors' inputs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from domain.choreography import REACTIONS, EventKind, Reactor, reactor_id
from shards.sagas.saga_rows import EventRow
from tracing.documents import EventDocument, ReactorDocument
from tracing.facts import Run


def events_of(order_id: str, rows: Sequence[tuple[str, EventRow]], runs: Sequence[Run]) -> list[EventDocument]:
    """In the order of the versions. An event that was trimmed is still known from its reactors."""
    by_version: dict[int, tuple[str, datetime | None, str | None]] = {
        event.version: (event.kind, event.at, shard) for shard, event in rows
    }
    for run in runs:
        event = run.input if isinstance(run.input, dict) else {}
        if "version" in event:
            by_version.setdefault(event["version"], (event["kind"], None, None))
    return [
        EventDocument(kind=kind, version=version, at=at, shard=shard, reactors=_reactors(kind, order_id, version, runs))
        for version, (kind, at, shard) in sorted(by_version.items())
    ]


def _reactors(kind: str, order_id: str, version: int, runs: Sequence[Run]) -> list[ReactorDocument]:
    if kind not in list(EventKind):
        return []
    return [_reactor(reactor, reactor_id(reactor, order_id, version), runs) for reactor in REACTIONS[EventKind(kind)]]


def _reactor(reactor: Reactor, workflow_id: str, runs: Sequence[Run]) -> ReactorDocument:
    """By its newest run: a reactor that was lost is started again under the same id."""
    own = [run for run in runs if run.workflow_id == workflow_id]
    newest = own[-1] if own else None
    ended = newest.closed_at if newest is not None else None
    return ReactorDocument(
        name=reactor,
        service=reactor.service,
        workflow_id=workflow_id,
        status=newest.status if newest is not None else None,
        started_at=newest.started_at if newest is not None else None,
        seconds=(ended - newest.started_at).total_seconds() if newest is not None and ended is not None else None,
    )
