"""One sweep over two-phase commits that nobody decides any more, as a schedule of earlier releases started them.

Nothing starts it any more: `workflows.transfers.in_doubt_sweeper` has replaced it. Workers still host it for a run that
such a schedule may have left behind, which would otherwise wait for ever for a worker that knows it.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from activities.interfaces import InDoubtActivities, ResolveInDoubt
from domain.in_doubt import InDoubtReport

WORKFLOW_ID = "in-doubt-recovery"

OLDER_THAN_SECONDS = 5.0
START_TO_CLOSE = timedelta(seconds=60)
RETRY = RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3)


@workflow.defn(name="InDoubtRecovery")
class InDoubtRecovery:
    @workflow.run
    async def run(self) -> InDoubtReport:
        return await workflow.execute_activity_method(
            InDoubtActivities.resolve_in_doubt,
            ResolveInDoubt(OLDER_THAN_SECONDS),
            summary="end the prepared transactions that nobody decides any more",
            start_to_close_timeout=START_TO_CLOSE,
            retry_policy=RETRY,
        )
