"""What the Temporal UI shows of a workflow beside its history, queried as the UI queries it."""

from __future__ import annotations

from typing import Any

from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowHandle


async def current_details(handle: WorkflowHandle[Any, Any]) -> str:
    """Made anew by a worker from the history: it needs one, also where the workflow has ended."""
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return str(metadata.current_details)


async def static_summary(handle: WorkflowHandle[Any, Any]) -> str | None:
    return await (await handle.describe()).static_summary()
