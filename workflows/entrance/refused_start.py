"""A start whose input is invalid fails at once, with a code and a sentence.

`RefusedStart` runs in place of the requested workflow, under its id and type, so that no workflow sees input that it
cannot read. It leaves no row, and the id can be used again.
"""

from __future__ import annotations

from pydantic.dataclasses import dataclass
from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError

from domain.errors import InvalidInput

REFUSED = SearchAttributeKey.for_keyword("Refused")
"""The code of the refusal, on every workflow that was refused. Lists distinguish these from failed ones by it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`field` is None if the input as a whole is at fault."""

    code: str
    message: str
    field: str | None

    @classmethod
    def of(cls, error: InvalidInput) -> Fault:
        return cls(error.code, error.message, error.field)


@workflow.defn
class RefusedStart:
    @workflow.run
    async def run(self, fault: Fault) -> None:
        workflow.upsert_search_attributes([REFUSED.value_set(fault.code)])
        raise ApplicationError(fault.message, {"field": fault.field}, type=fault.code, non_retryable=True)
