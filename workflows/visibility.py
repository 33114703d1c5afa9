"""What Temporal's UI and lists tell of a saga's workflow: the saga that it belongs to, and its current details.

Details cost no event: a worker makes them anew from the history for whoever looks.
"""

from __future__ import annotations

from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

from domain.sagas import Refusal

SAGA = SearchAttributeKey.for_keyword("Saga")
"""The saga id, on every workflow that works for the saga."""

CANCELLATION_WINDOW = "cancellation window: the order can still be cancelled"
"""The summary of its timer."""


def of_saga(saga_id: str) -> Sequence[SearchAttributeUpdate[str]]:
    """For the next upsert of a workflow that may have been started without it. None where it is there already, so that
    this never costs an event of its own."""
    return [] if workflow.info().typed_search_attributes.get(SAGA) is not None else [SAGA.value_set(saga_id)]


def show_stuck(stuck: Sequence[str], otherwise: str) -> None:
    """The steps that are stuck, behind what is told when all move."""
    workflow.set_current_details(with_items(otherwise, [f"* stuck: {each}" for each in stuck]))


def with_items(text: str, items: Sequence[str]) -> str:
    """Markdown of a sentence and a list, which the UI only shows as one behind an empty line."""
    return "\n\n".join(filter(None, (text, "\n".join(items))))


def why(status: str, refusal: Refusal) -> str:
    """`rejected: out_of_stock, 5 x NW-030 wanted …`; a reason that is the status itself is not said twice."""
    reason = [] if refusal.reason == status else [refusal.reason]
    return f"{status}: {', '.join([*reason, refusal.detail])}"
