"""The audit behind `verify`: right while orders run. Changes nothing.

What one shard's snapshot shows is damage or health at once. What has to agree between shards and workflows is first
read in bulk, which can tear; only the suspects are asked again, each as a consistent cut between two looks at its
workflow. An order that somebody works on is in flight, not damaged, unless its rows could never be right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from cli.progress import Report
from cli.workflow_states import ListedWorkflow, Work, WorkflowState, WorkflowStates
from domain.orders import OrderState
from shards.audit.facts import ORDER_PREFIX, Dossier, count_claimed, gather_still, known_orders, read_all
from shards.audit.findings import Check, Findings, Violation
from shards.audit.judgement import Fault, judge, unpaired_first
from shards.audit.local import check_shard
from shards.audit.placement import check_placement
from shards.audit.prepared import FORGOTTEN_AFTER_SECONDS
from shards.engines import Cluster

BATCH = 500
DESCRIBED_AT_ONCE_MAX = 32
# A saga's rows move forward some twenty times in its whole life: one that still moves after this many looks is alive.
LOOKS_MAX = 25


@dataclass(slots=True)
class MoneyOnTheWay:
    """Of one currency, in minor units: it has left one shard and not arrived on another."""

    count: int = 0
    minor: int = 0


@dataclass(slots=True)
class InFlight:
    """Sagas whose workflows still work on them; the money on its way by currency."""

    sagas: set[str] = field(default_factory=set)
    money: dict[str, MoneyOnTheWay] = field(default_factory=dict)
    prepared_transactions: int = 0

    def add(self, dossier: Dossier) -> None:
        self.sagas.add(dossier.saga_id)
        leg = unpaired_first(dossier)
        if leg is not None:
            on_the_way = self.money.setdefault(leg.currency, MoneyOnTheWay())
            on_the_way.count += 1
            on_the_way.minor += leg.amount


class Audit:
    """One run over all shards. `expired`: orders whose workflow Temporal has forgotten, as it may. `abandoned`: sagas
    that nobody works on any more and that would be right if somebody did, by id: `recover` starts them again.
    """

    def __init__(
        self,
        cluster: Cluster,
        workflows: WorkflowStates,
        progress: Report,
        forgotten_after_seconds: int = FORGOTTEN_AFTER_SECONDS,
    ) -> None:
        """A prepared transaction older than `forgotten_after_seconds` is damage, a younger one in flight."""
        self.findings = Findings()
        self.in_flight = InFlight()
        self.expired = 0
        self.abandoned: dict[str, Dossier] = {}
        self._cluster = cluster
        self._workflows = workflows
        self._progress = progress
        self._forgotten_after_seconds = forgotten_after_seconds

    async def run(self) -> None:
        """Raises `Unreachable` where a shard, the catalog or Temporal does not answer: then nothing is said."""
        await self._check_shards()
        await self.check_sagas()
        for dossier in self.abandoned.values():
            self._add(judge(dossier))

    async def check_sagas(self) -> None:
        """Every saga that Temporal or a shard knows, across the shards and against its workflow. `abandoned` ones are
        kept apart from what is found damaged.
        """
        claimed = await count_claimed(self._cluster)
        listed = await self._check_workflows(claimed)
        self.expired = max(0, claimed - listed)
        await self._check_rows(claimed)

    async def _check_workflows(self, claimed: int) -> int:
        """Every workflow has left its trace. Listed first and rows read then: a closed one can have no late rows.

        How many of the listed have.
        """
        listed = with_rows = 0
        page: list[ListedWorkflow] = []
        async with aclosing(self._workflows.listed()) as workflows:
            async for workflow in workflows:
                page.append(workflow)
                listed += 1
                if len(page) == BATCH:
                    with_rows += await self._check_page(page)
                    page = []
                    self._progress("workflows", listed, max(listed, claimed))
        return with_rows + await self._check_page(page)

    async def _check_page(self, page: Sequence[ListedWorkflow]) -> int:
        known = await known_orders(self._cluster, [each.saga_id.removeprefix(ORDER_PREFIX) for each in page])
        unknown = []
        for workflow in page:
            order_id = workflow.saga_id.removeprefix(ORDER_PREFIX)
            if order_id not in known:
                unknown.append(workflow.saga_id)
            elif workflow.work is Work.CLOSED and workflow.status == OrderState.CONFIRMED != known[order_id]:
                state = known[order_id] or "nowhere"
                what = f"the workflow of order {order_id} ended as confirmed, but its row is {state}"
                row = {"saga_id": workflow.saga_id, "order_id": order_id, "state": known[order_id]}
                self.findings.add_violations(Check.ORDERS, [Violation(what, None, row)])
        await self._settle(unknown)
        return len(page) - len(unknown)

    async def _check_shards(self) -> None:
        shards = list(self._cluster.shards.values())
        for done, shard in enumerate(shards):
            self._progress("shards", done, len(shards))
            young = await check_shard(shard, self.findings, self._forgotten_after_seconds)
            self.in_flight.prepared_transactions += young
            placed = await check_placement(self._cluster, shard)
            self.findings.add_checked(Check.PLACEMENT, placed.checked)
            not_shown = placed.violation_count - len(placed.violations)
            self.findings.add_violations(Check.PLACEMENT, placed.violations, not_shown)

    async def _check_rows(self, claimed: int) -> None:
        suspects: list[str] = []
        done = 0
        async with aclosing(read_all(self._cluster)) as dossiers:
            async for dossier in dossiers:
                done += 1
                if judge(dossier):
                    suspects.append(dossier.saga_id)
                if len(suspects) == BATCH:
                    await self._settle(suspects)
                    suspects = []
                if done % BATCH == 0:
                    self._progress("orders", done, max(done, claimed))
        await self._settle(suspects)

    async def _settle(self, suspects: Sequence[str]) -> None:
        """Finds out of each suspect whether it is in flight, damaged, or done meanwhile."""
        unsettled = list(suspects)
        for _ in range(LOOKS_MAX):
            if not unsettled:
                return
            before = await self._states(unsettled)
            still = await gather_still(self._cluster, unsettled)
            after = await self._states(list(still))
            unsettled = [
                saga_id
                for saga_id in unsettled
                if saga_id not in still or not self._settled(still[saga_id], before[saga_id], after[saga_id])
            ]
        self.in_flight.sagas.update(unsettled)

    def _settled(self, dossier: Dossier, before: WorkflowState, after: WorkflowState) -> bool:
        """False where the workflow ended or began between the looks: its rows may not show that yet."""
        faults = judge(dossier)
        at_work = after.work is Work.OPEN
        damage = [fault for fault in faults if not fault.while_open]
        if not at_work and len(damage) < len(faults):
            if before != after:
                return False
            # A saga that came to its own end has claimed its id: one without is of other databases than these.
            if damage or (after.completed and not dossier.lookups):
                damage = faults
            else:
                # Once, however many runs of its workflow are listed.
                self.abandoned[dossier.saga_id] = dossier
        if at_work and (faults or not dossier.lookups):
            self.in_flight.add(dossier)
        self._add(damage)
        return True

    def _add(self, damage: Sequence[Fault]) -> None:
        for fault in damage:
            self.findings.add_violations(fault.check, [fault.violation])

    async def _states(self, saga_ids: Sequence[str]) -> dict[str, WorkflowState]:
        turns = asyncio.Semaphore(DESCRIBED_AT_ONCE_MAX)

        async def ask(saga_id: str) -> WorkflowState:
            async with turns:
                return await self._workflows.state_of(saga_id)

        states = await asyncio.gather(*(ask(saga_id) for saga_id in saga_ids))
        return dict(zip(saga_ids, states, strict=True))
