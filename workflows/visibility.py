"""What Temporal's UI and lists show of a saga's workflow: the saga that it belongs to, and its current details.

Details cost no event: a worker computes them from the history whenever somebody looks.
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


def saga_attribute(saga_id: str) -> Sequence[SearchAttributeUpdate[str]]:
    """The saga id for the workflow's next upsert, if it was started without one; else nothing. So this never costs an
    event of its own."""
    return [] if workflow.info().typed_search_attributes.get(SAGA) is not None else [SAGA.value_set(saga_id)]


def show_stuck(stuck: Sequence[str], otherwise: str) -> None:
    """Shows the stuck steps below `otherwise`, which is what is shown when none is stuck."""
    workflow.set_current_details(with_items(otherwise, [f"* stuck: {each}" for each in stuck]))


def with_items(text: str, items: Sequence[str]) -> str:
    """Markdown of a sentence and a list. The UI renders a list only after an empty line."""
    return "\n\n".join(filter(None, (text, "\n".join(items))))


def with_reason(status: str, refusal: Refusal) -> str:
    """`rejected: out_of_stock, 5 x NW-030 wanted …`; a reason that equals the status is not repeated."""
    reason = [] if refusal.reason == status else [refusal.reason]
    return f"{status}: {', '.join([*reason, refusal.detail])}"
