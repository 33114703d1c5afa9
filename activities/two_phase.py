"""Two-phase commit, over the shards. Contracts: `activities.interfaces.TwoPhaseActivities`."""

from __future__ import annotations

from temporalio import activity

from activities.effects import failures_translated
from activities.interfaces import AbortParticipant, ParticipantStep, TwoPhaseActivities
from domain.two_phase import Ended, Vote
from shards.routing.router import Router
from shards.transfers import two_phase


class ShardedTwoPhaseActivities(TwoPhaseActivities):
    def __init__(self, router: Router) -> None:
        self._router = router

    @activity.defn
    @failures_translated
    async def prepare_participant(self, request: ParticipantStep) -> Vote:
        return await two_phase.prepare(self._router, request.transfer, request.participant)

    @activity.defn
    @failures_translated
    async def commit_participant(self, request: ParticipantStep) -> Ended:
        return await two_phase.commit(self._router, request.transfer, request.participant)

    @activity.defn
    @failures_translated
    async def abort_participant(self, request: AbortParticipant) -> Ended:
        return await two_phase.abort(self._router, request.transfer, request.participant, request.refusal)
