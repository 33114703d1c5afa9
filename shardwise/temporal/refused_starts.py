"""Workflows that were refused at their start, and what is wrong with their input."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from shlex import quote
from typing import Any

from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowHistoryEventFilterType,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import InvalidInput
from domain.identifiers import shown
from domain.timestamps import timestamp
from shardwise.temporal.calls import input_of, temporal_unreachable
from workflows.entrance.bad_input import INVALID_INPUT
from workflows.entrance.refused_start import REFUSED

SHOWN_MAX = 20
_QUERY = f'{REFUSED.name} IS NOT NULL AND ExecutionStatus = "Failed"'


@dataclass(frozen=True, slots=True)
class RefusedStart:
    """`started_again`: it had ended before a worker checked it; it is started again to get its refusal."""

    workflow_id: str
    fault: InvalidInput
    started_again: bool = False


async def list_refused(client: Client) -> list[RefusedStart]:
    """The newest ones, as of a moment ago, without those whose id was used again. Raises `Unreachable`."""
    try:
        listed = [each async for each in client.list_workflows(_QUERY, limit=SHOWN_MAX)]
        found = await asyncio.gather(*(_look_at(client, each) for each in listed))
    except RPCError as error:
        raise temporal_unreachable(error.message) from error
    # A workflow with a cron schedule is refused again and again, under one id.
    return list({each.workflow_id: each for each in reversed(found) if each is not None}.values())[::-1]


async def _look_at(client: Client, refused: WorkflowExecution) -> RefusedStart | None:
    """None if its id was used again since, if Temporal has deleted it since it was listed, or if the search attribute
    was set by a client. Raises `RPCError`."""
    handle = client.get_workflow_handle(refused.id, run_id=refused.run_id)
    try:
        newest = await client.get_workflow_handle(refused.id).describe()
        fault = await _fault(client, handle)
        if fault is None:
            return None
        if newest.run_id == refused.run_id:
            return RefusedStart(refused.id, fault)
        if newest.status is not WorkflowExecutionStatus.RUNNING:
            return None
        begun, again = await _started(handle), await _started(client.get_workflow_handle(refused.id))
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    if again.first_execution_run_id != begun.first_execution_run_id:
        return None
    ended_by = f"`temporal workflow terminate --workflow-id {quote(refused.id)}`"
    what = f"{fault.message}; it begins again by its cron schedule {shown(begun.cron_schedule)}, until {ended_by}"
    return RefusedStart(refused.id, InvalidInput(fault.field, what))


async def _fault(client: Client, handle: WorkflowHandle[Any, Any]) -> InvalidInput | None:
    """Read from its failure. None if it was not refused at its start."""
    closing = WorkflowHistoryEventFilterType.CLOSE_EVENT
    event = await anext(handle.fetch_history_events(event_filter_type=closing))
    if event.HasField("workflow_execution_continued_as_new_event_attributes"):
        # The server shows a failed run with a cron schedule to this SDK as continued.
        try:
            await input_of(handle)
        except InvalidInput as fault:
            return fault
        return None
    cause = await client.data_converter.decode_failure(event.workflow_execution_failed_event_attributes.failure)
    if isinstance(cause, ApplicationError) and cause.type == INVALID_INPUT:
        details = cause.details[0] if cause.details else {}
        return InvalidInput(details.get("field") if isinstance(details, dict) else None, cause.message)
    return None


async def _started(handle: WorkflowHandle[Any, Any]) -> WorkflowExecutionStartedEventAttributes:
    """`RPCError` if Temporal does not know the run."""
    return await anext(
        event.workflow_execution_started_event_attributes async for event in handle.fetch_history_events(page_size=1)
    )


async def count_refused(client: Client, within: timedelta) -> int:
    """Started `within` this time, as of a moment ago. Raises `RPCError`."""
    since = timestamp(datetime.now(UTC) - within)
    return (await client.count_workflows(f'{_QUERY} AND StartTime > "{since}"')).count
