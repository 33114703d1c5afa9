"""A transfer across shards by two-phase commit.

    prepare, one after the other ─▶ every vote yes?  ── yes ─▶ commit the source ─▶ commit the target
                                                     └─ no ──▶ abort the source ─▶ abort the target

The commit point is `COMMIT PREPARED` on the source's shard. Only regular activities: the votes are in the history, and
scheduling the commit of the source records there what this coordinator intends. If another coordinator was first, the
target follows the source's row.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, RetryState

from activities.interfaces import AbortParticipant, ParticipantStep, TwoPhaseActivities
from domain.sagas import ALREADY_COMPENSATED, Decision, Reason, Refusal, SagaOutcome
from domain.steps import Step
from domain.transfers import Transfer, TransferState
from domain.two_phase import Ended, Participant, Vote, in_prepare_order
from workflows.interfaces import VOTE_WITHIN_SECONDS
from workflows.saga_steps import SagaSteps
from workflows.transfers.saga import CANCELLED

VOTE_WITHIN = timedelta(seconds=VOTE_WITHIN_SECONDS)
VOTE_START_TO_CLOSE = timedelta(seconds=10)
VOTE_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=2))


async def commit_across(
    transfer: Transfer,
    steps: SagaSteps,
    shards: tuple[str, str],
    is_cancelled: Callable[[], bool],
    vote_within: timedelta = VOTE_WITHIN,
    state: TransferState = TransferState.PENDING,
) -> Decision:
    """Both accounts or neither; returns what the source's row decided. Call it after `open_transfer`, which returned
    `state`, and under `shielded`: it has to run to its end.

    `shards` are the source's and the target's. `is_cancelled` counts until every vote is in. A participant that does
    not vote within `vote_within` counts as a no. Started again from a decided row, it only carries out the decision.
    """
    protocol = _TwoPhase(transfer, steps, shards)
    if state is TransferState.PENDING:
        refusal = await protocol.prepare_all(is_cancelled, vote_within)
    else:
        refusal = None if state is TransferState.CONFIRMED else ALREADY_COMPENSATED
    return await protocol.commit_or_abort(refusal)


class _TwoPhase:
    def __init__(self, transfer: Transfer, steps: SagaSteps, shards: tuple[str, str]) -> None:
        self._transfer = transfer
        self._steps = steps
        self._prepare_order = in_prepare_order(*shards)
        self._shards = dict(self._prepare_order)

    async def prepare_all(self, is_cancelled: Callable[[], bool], within: timedelta) -> Refusal | None:
        """None: every vote is yes, and nobody cancelled meanwhile. If we crash here, nothing is decided."""
        for participant, _ in self._prepare_order:
            refusal = CANCELLED if is_cancelled() else await self._prepare(participant, is_cancelled, within)
            if refusal is not None:
                return refusal
        return CANCELLED if is_cancelled() else None

    async def _prepare(
        self, participant: Participant, is_cancelled: Callable[[], bool], within: timedelta
    ) -> Refusal | None:
        task = workflow.start_activity_method(
            TwoPhaseActivities.prepare_participant,
            ParticipantStep(self._transfer, participant),
            activity_id=Step.PREPARE_PARTICIPANT.activity_id(participant),
            summary=Step.PREPARE_PARTICIPANT.summary(
                participant=participant, account=self._account(participant), shard=self._shards[participant]
            ),
            schedule_to_close_timeout=within,
            start_to_close_timeout=VOTE_START_TO_CLOSE,
            retry_policy=VOTE_RETRY,
        )
        await workflow.wait_condition(lambda: task.done() or is_cancelled())
        if not task.done():
            await _abandon(task)
            return CANCELLED
        try:
            vote: Vote = task.result()
        except ActivityError as error:
            if error.retry_state is RetryState.NON_RETRYABLE_FAILURE:
                return Refusal(Reason.STEP_FAILED, f"the {participant} failed for good: {error.cause or error}")
            shard = self._shards[participant]
            return Refusal(Reason.NO_VOTE, f"the {participant} on {shard} did not vote within {within}")
        return vote.refusal

    async def commit_or_abort(self, refusal: Refusal | None) -> Decision:
        """Commits if `refusal` is None, else aborts: first the source, then the target, which follows the source.

        If we crash here, the decision is in the history as soon as the first of these steps is scheduled, and the next
        worker carries it out.
        """
        source = await self._commit_or_abort(Participant.SOURCE, refusal)
        refusal = None if source.is_committed else source.refusal or refusal or ALREADY_COMPENSATED
        await self._commit_or_abort(Participant.TARGET, refusal)
        return Decision(SagaOutcome.ABORTING, refusal) if refusal else Decision(SagaOutcome.CONFIRMED)

    async def _commit_or_abort(self, participant: Participant, refusal: Refusal | None) -> Ended:
        if refusal is None:
            return await self._steps.to_the_end(
                TwoPhaseActivities.commit_participant,
                ParticipantStep(self._transfer, participant),
                part=participant,
                skip_local=True,
                participant=participant,
                account=self._account(participant),
                shard=self._shards[participant],
            )
        return await self._steps.to_the_end(
            TwoPhaseActivities.abort_participant,
            AbortParticipant(self._transfer, participant, refusal),
            part=participant,
            because=refusal.reason,
            skip_local=True,
            participant=participant,
            account=self._account(participant),
            shard=self._shards[participant],
        )

    def _account(self, participant: Participant) -> str:
        return self._transfer.source if participant is Participant.SOURCE else self._transfer.target


async def _abandon(task: asyncio.Task[Vote]) -> None:
    """If the attempt prepares all the same, the abort finds and ends it."""
    task.cancel()
    with contextlib.suppress(ActivityError):
        await task
