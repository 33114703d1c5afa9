"""Workflows that were refused at their start: who asked for what no rule allows, and what is wrong with it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

from cli.saga_calls import asked_of, no_answer
from domain.errors import InvalidInput
from domain.timestamps import timestamp
from workflows.refused_start import REFUSED

SHOWN_MAX = 20
_QUERY = f"{REFUSED.name} IS NOT NULL"


@dataclass(frozen=True, slots=True)
class RefusedStart:
    """`started_again`: it had ended before a worker looked at it, and gets its refusal now."""

    workflow_id: str
    fault: InvalidInput
    started_again: bool = False


async def list_refused(client: Client) -> list[RefusedStart]:
    """The newest ones, as of a moment ago, without those whose id was used again. Raises `Unreachable`."""
    try:
        listed = [each async for each in client.list_workflows(_QUERY, limit=SHOWN_MAX)]
        are_newest = await asyncio.gather(*(_is_newest(client, each) for each in listed))
    except RPCError as error:
        raise no_answer(error.message) from error
    listed = [each for each, is_newest in zip(listed, are_newest, strict=True) if is_newest]
    faults = await asyncio.gather(*(_fault(client, each) for each in listed))
    return [RefusedStart(each.id, fault) for each, fault in zip(listed, faults, strict=True)]


async def _is_newest(client: Client, refused: WorkflowExecution) -> bool:
    """Of its id. One that Temporal has deleted since it was listed is not. Raises `RPCError`."""
    try:
        return (await client.get_workflow_handle(refused.id).describe()).run_id == refused.run_id
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise


async def _fault(client: Client, refused: WorkflowExecution) -> InvalidInput:
    try:
        await asked_of(client.get_workflow_handle(refused.id, run_id=refused.run_id))
    except InvalidInput as fault:
        return fault
    return InvalidInput(None, "Temporal does not tell what it was started with, or it would be let in by now")


async def count_refused(client: Client, within: timedelta) -> int:
    """Of the last while, as of a moment ago. Raises `RPCError`."""
    since = timestamp(datetime.now(UTC) - within)
    return (await client.count_workflows(f'{_QUERY} AND StartTime > "{since}"')).count
