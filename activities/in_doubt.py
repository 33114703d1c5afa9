"""The sweep over transactions in doubt. Contract: `activities.interfaces.InDoubtActivities`."""

from __future__ import annotations

from functools import partial

from temporalio import activity

from activities.coordinators import coordinator_of
from activities.effects import failures_translated
from activities.interfaces import InDoubtActivities, ResolveInDoubt
from domain.in_doubt import InDoubtReport
from shards.routing.router import Router
from shards.transfers.in_doubt import Sweep


class ShardedInDoubtActivities(InDoubtActivities):
    def __init__(self, router: Router) -> None:
        self._router = router

    @activity.defn
    @failures_translated
    async def resolve_in_doubt(self, request: ResolveInDoubt) -> InDoubtReport:
        find_coordinator = partial(coordinator_of, activity.client())
        return await Sweep(self._router, find_coordinator, request.older_than_seconds).run()
