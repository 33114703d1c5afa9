"""The entrance of each workflow type: what it may be started with, and under which id, by any client in any language.

The worker checks each start here before a workflow sees its input; the command line does before it relies on the input
of a workflow that it finds. The rules themselves are in `domain`. `docs/contract.md` documents them for callers.

A rule may be loosened at any time. One that is made stricter needs `workflow.patched` in what it guards, since input is
checked again at each replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from temporalio.api.common.v1 import Payload

from domain.choreography import PLACEMENT_TYPE, OrderEvent, Reactor, check_event, placement_id, reactor_id
from domain.errors import InvalidInput
from domain.identifiers import check_identifier, check_shard_name, shown
from domain.json_text import first_fault, parse_json
from domain.limits import BATCH_LINES_MAX, CHUNK_ROWS_MAX
from domain.numbers import check_seconds, check_whole
from domain.orders import Order, Style, check_order
from domain.sagas import check_options
from domain.transfer_batch import batch_workflow_id
from domain.transfers import check_transfer
from workflows import outbox_relay, read_model_rebuild
from workflows.interfaces import (
    BATCH_EVENTS_MIN,
    CALL_SECONDS,
    SWEEP_SECONDS_MAX,
    SWEEP_SECONDS_MIN,
    SWEEPS_MAX,
    BatchOptions,
    BatchProgress,
    CarryOutTransfer,
    FollowOutbox,
    PlaceChoreographed,
    PlaceOrder,
    Rebuild,
    SweepInDoubt,
    TransferBatch,
)
from workflows.orders import saga as order_saga
from workflows.transfers import in_doubt_recovery, in_doubt_sweeper, transfer

R = TypeVar("R")

ENCODING = b"json/plain"


class Entrance(Generic[R]):
    """The entrance of one workflow type. `request` None: it takes no argument. `check` raises `InvalidInput` if the
    request breaks a rule or needs another workflow id than it was given."""

    def __init__(self, request: type[R] | None, check: Callable[[R, str], None]) -> None:
        self.request = request
        self._adapters = [TypeAdapter(request)] if request is not None else []
        self._check = check

    def read(self, workflow_id: str, arguments: Sequence[Payload]) -> Any:
        if len(arguments) != len(self._adapters):
            wanted = "one argument" if self._adapters else "no argument"
            raise InvalidInput(None, f"expected {wanted}, got {len(arguments)}")
        decoded = [_decoded(*each) for each in zip(arguments, self._adapters, strict=True)]
        request: Any = decoded[0] if decoded else None
        self._check(request, workflow_id)
        return request


def read_start(workflow_type: str, workflow_id: str, arguments: Sequence[Payload]) -> Any:
    """The request of this start, checked; None if its type takes no argument. `InvalidInput` naming the field and what
    was expected."""
    entrance = ENTRANCES.get(workflow_type)
    if entrance is None:
        raise InvalidInput("workflow_type", f"workflow_type: there is no {shown(workflow_type)}")
    return entrance.read(workflow_id, arguments)


def _decoded(argument: Payload, adapter: TypeAdapter[R]) -> R:
    """Stricter than the workflow's own reading: no number in a text, no field that nobody would look at."""
    encoding = argument.metadata.get("encoding", b"")
    if encoding != ENCODING:
        raise InvalidInput(None, f"expected the encoding {ENCODING.decode()}, got {shown(encoding.decode('latin-1'))}")
    try:
        decoded = adapter.validate_json(argument.data, strict=True, extra="forbid")
    except ValidationError as error:
        raise first_fault(error) from None
    parse_json(argument.data)  # After pydantic, which is silent about a repeated field and keeps the last.
    return decoded


@contextmanager
def _inside(name: str) -> Iterator[None]:
    """Faults of a part, named as the whole has them."""
    try:
        yield
    except InvalidInput as fault:
        raise InvalidInput(f"{name}.{fault.field}", f"{name}.{fault.message}") from None


# ── the rule of each type ───────────────────────────────────────────────────────────────────────────────────


def _check_id(workflow_id: str, expected: str) -> None:
    if workflow_id != expected:
        message = f"workflow_id: expected {shown(expected, 300)}, which the input names, got {shown(workflow_id)}"
        raise InvalidInput("workflow_id", message)


def _place_order(request: PlaceOrder, workflow_id: str) -> None:
    _check_order(request.order, Style.ORCHESTRATED)
    check_options(request.options)
    check_seconds(request.cancellation_window_seconds, "cancellation_window_seconds")
    _check_id(workflow_id, order_saga.workflow_id(request.order.order_id))


def _place_choreographed(request: PlaceChoreographed, workflow_id: str) -> None:
    _check_order(request.order, Style.CHOREOGRAPHED)
    check_options(request.options)
    check_seconds(request.cancellation_window_seconds, "cancellation_window_seconds")
    _check_id(workflow_id, placement_id(request.order.order_id))


def _check_order(order: Order, style: Style) -> None:
    with _inside("order"):
        check_order(order)
        if order.style is not style:
            raise InvalidInput("style", f"style: expected {style} for this workflow type, got {order.style}")


def _react(reactor: Reactor, event: OrderEvent, workflow_id: str) -> None:
    check_event(event, reactor)
    _check_id(workflow_id, reactor_id(reactor, event.order_id, event.version))


def _carry_out_transfer(request: CarryOutTransfer, workflow_id: str) -> None:
    with _inside("transfer"):
        check_transfer(request.transfer)
    check_options(request.options)
    check_seconds(request.vote_within_seconds, "vote_within_seconds", above_zero=True)
    _check_id(workflow_id, transfer.workflow_id(request.transfer))


def _transfer_batch(batch: TransferBatch, workflow_id: str) -> None:
    check_identifier(batch.batch_id, "batch_id")
    for shard, count in batch.lines.items():
        check_shard_name(shard, "lines")
        check_whole(count, f"lines.{shard}", 0, BATCH_LINES_MAX)
    _check_batch_options(batch.options)
    if batch.progress is not None:
        _check_progress(batch.progress, batch.lines)
    _check_id(workflow_id, batch_workflow_id(batch.batch_id))


def _check_batch_options(options: BatchOptions) -> None:
    check_whole(options.chunk_lines, "options.chunk_lines", 1, CHUNK_ROWS_MAX)
    check_whole(options.range_lines, "options.range_lines", 1, BATCH_LINES_MAX)
    check_seconds(options.heartbeat_seconds, "options.heartbeat_seconds", above_zero=True)
    check_whole(options.events_max, "options.events_max", BATCH_EVENTS_MIN, BATCH_LINES_MAX)


def _check_progress(progress: BatchProgress, lines: Mapping[str, int]) -> None:
    """The progress that the run before has passed on."""
    if progress.after.keys() != lines.keys():
        raise InvalidInput("progress.after", "progress.after: expected the same shards as in lines")
    for shard, after in progress.after.items():
        if after is not None:
            check_whole(after, f"progress.after.{shard}", 0, BATCH_LINES_MAX)
    counts = progress.counts
    for name in ("settled", "declined", "postponed", "others"):
        check_whole(getattr(counts, name), f"progress.counts.{name}", 0, BATCH_LINES_MAX)


def _follow_outbox(request: FollowOutbox, workflow_id: str) -> None:
    check_shard_name(request.shard, "shard")
    check_seconds(request.call_seconds, "call_seconds", above_zero=True, at_most=CALL_SECONDS)
    _check_id(workflow_id, outbox_relay.workflow_id(request.shard))


def _rebuild(request: Rebuild, workflow_id: str) -> None:
    check_whole(request.chunk_rows, "chunk_rows", 1, CHUNK_ROWS_MAX)
    check_seconds(request.fill_seconds, "fill_seconds")
    _check_id(workflow_id, read_model_rebuild.WORKFLOW_ID)


def _keep_sweeping(request: SweepInDoubt, workflow_id: str) -> None:
    check_seconds(request.every_seconds, "every_seconds", above_zero=True)
    if not SWEEP_SECONDS_MIN <= request.every_seconds <= SWEEP_SECONDS_MAX:
        expected = f"expected {SWEEP_SECONDS_MIN:g} to {SWEEP_SECONDS_MAX:g} seconds"
        raise InvalidInput("every_seconds", f"every_seconds: {expected}, got {request.every_seconds:g}")
    check_whole(request.sweeps_max, "sweeps_max", 1, SWEEPS_MAX)
    _check_id(workflow_id, in_doubt_sweeper.WORKFLOW_ID)


def _sweep_once(_: None, workflow_id: str) -> None:
    """The schedule of earlier releases appended the time to the id."""
    expected = in_doubt_recovery.WORKFLOW_ID
    if workflow_id != expected and not workflow_id.startswith(f"{expected}-"):
        _check_id(workflow_id, expected)


ENTRANCES: Mapping[str, Entrance[Any]] = {
    "OrderSaga": Entrance(PlaceOrder, _place_order),
    PLACEMENT_TYPE: Entrance(PlaceChoreographed, _place_choreographed),
    **{reactor.workflow_type: Entrance(OrderEvent, partial(_react, reactor)) for reactor in Reactor},
    "TransferWorkflow": Entrance(CarryOutTransfer, _carry_out_transfer),
    "TransferBatchWorkflow": Entrance(TransferBatch, _transfer_batch),
    "InDoubtSweeper": Entrance(SweepInDoubt, _keep_sweeping),
    "InDoubtRecovery": Entrance(None, _sweep_once),
    "OutboxRelay": Entrance(FollowOutbox, _follow_outbox),
    "ReadModelRebuild": Entrance(Rebuild, _rebuild),
}
