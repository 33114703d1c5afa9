"""The search attributes that workflows set. One that is not registered hangs the workflow that sets it."""

from __future__ import annotations

import asyncio

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import InvalidInput, Unreachable

KEYWORDS = ("OrderStatus", "Protocol", "Refused", "Saga", "Shard", "TransferStatus")
LISTED_WITHIN_SECONDS = 30.0
POLL_SECONDS = 0.1


async def missing_search_attributes(client: Client) -> list[str]:
    """`InvalidInput` if one is registered with another type, which cannot be changed from here."""
    try:
        answer = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
    except RPCError as error:
        raise _no_answer(error) from error
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    registered = answer.custom_attributes
    for name in KEYWORDS:
        if registered.get(name, keyword) != keyword:
            raise InvalidInput(name, f"Temporal has a search attribute {name} that is not a Keyword")
    return [name for name in KEYWORDS if name not in registered]


async def register_search_attributes(client: Client) -> None:
    """Registers them and waits until they are listed. Safe to repeat and to run twice at once.

    `Unreachable` if Temporal does not answer, or does not list them in time.
    """
    missing = await missing_search_attributes(client)
    if not missing:
        return
    keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=dict.fromkeys(missing, keyword))
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise _no_answer(error) from error
    try:
        async with asyncio.timeout(LISTED_WITHIN_SECONDS):
            while await missing_search_attributes(client):  # noqa: ASYNC110 - another process lists them
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        message = f"Temporal does not list the search attributes after {LISTED_WITHIN_SECONDS:g} s"
        raise Unreachable("temporal_unreachable", message) from None


def _no_answer(error: RPCError) -> Unreachable:
    return Unreachable("temporal_unreachable", f"Temporal refused the search attributes: {error.message}")
