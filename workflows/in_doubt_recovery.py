"""Looks after two-phase commits that nobody decides any more, every half minute. See `shards.in_doubt`.

A transfer's own workflow ends its prepared transactions. This is for those whose workflow was terminated or lost: they
keep their locks, and hold back their server's vacuum and outbox, until somebody ends them.
"""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from activities.interfaces import InDoubtActivities, ResolveInDoubt
from domain.in_doubt import InDoubtReport

WORKFLOW_ID = "in-doubt-recovery"

# Long enough for a workflow to be started behind its first prepare; what runs is never touched.
OLDER_THAN_SECONDS = 5.0

START_TO_CLOSE = timedelta(seconds=60)
# The next one comes anyway.
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
