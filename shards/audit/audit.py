"""The audit behind `verify`: correct while orders run. Changes nothing.

Rules within one shard are judged by one snapshot of it. Whatever must agree between shards and workflows is first read
in bulk, which is not one instant. Only suspects are read again, each as a consistent cut between two queries of its
workflow's state. A saga that a workflow works on is in flight, not damaged, unless its rows could never be right.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from domain.orders import OrderStatus
from domain.progress import Report
from domain.transfers import TransferStatus
from shards.audit.findings import Check, Fault, Findings, Violation
from shards.audit.local.check import check_shard
from shards.audit.local.prepared import FORGOTTEN_AFTER_SECONDS
from shards.audit.placement import check_placement
from shards.audit.read_model import Projected, check_projected, check_version
from shards.audit.sagas.facts import TRANSFER_PREFIX, SagaFacts
from shards.audit.sagas.gathering import count_sagas, gather_consistent, known_states, read_all
from shards.audit.sagas.judgement import judge, unpaired_first
from shards.audit.workflows import ListedWorkflow, Work, WorkflowState, WorkflowStates, together
from shards.connections.cluster import Cluster
from shards.routing.map_agreement import disagreements

BATCH = 500
DESCRIBED_AT_ONCE_MAX = 32
# A saga's rows change some twenty times in its whole life: one that still changes after this many reads is alive.
LOOKS_MAX = 25
_CONFIRMED = "confirmed"
# The status of workflows that succeeded: the row must then be `confirmed`.
_SUCCEEDED = frozenset({OrderStatus.CONFIRMED, TransferStatus.SETTLED})


@dataclass(slots=True)
class MoneyInFlight:
    """Money of one currency, in minor units, that has left one shard and not arrived on another."""

    count: int = 0
    minor: int = 0


@dataclass(slots=True)
class InFlight:
    """Sagas whose workflows still work on them, and the money in flight by currency."""

    sagas: set[str] = field(default_factory=set)
    money: dict[str, MoneyInFlight] = field(default_factory=dict)
    prepared_transactions: int = 0

    @property
    def transfers(self) -> int:
        return sum(saga_id.startswith(TRANSFER_PREFIX) for saga_id in self.sagas)

    @property
    def orders(self) -> int:
        return len(self.sagas) - self.transfers

    def add(self, saga: SagaFacts) -> None:
        self.sagas.add(saga.saga_id)
        leg = unpaired_first(saga)
        if leg is not None:
            on_the_way = self.money.setdefault(leg.currency, MoneyInFlight())
            on_the_way.count += 1
            on_the_way.minor += leg.amount


class Audit:
    """One run over all shards.

    `expired`: how many sagas have a workflow that Temporal deleted after its retention. `abandoned`: by id, unfinished
    sagas that no workflow works on any more, damaged or not: `recover` starts them again. `projected`: by shard, what
    of the read model could be judged.
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
        self.abandoned: dict[str, SagaFacts] = {}
        self.projected: dict[str, Projected] = {}
        self._cluster = cluster
        self._workflows = workflows
        self._progress = progress
        self._forgotten_after_seconds = forgotten_after_seconds
        # Each saga is reported once, though it can be suspected twice: by its workflow and by its rows.
        self._damaged: set[str] = set()

    async def run(self) -> None:
        """Raises `Unreachable` if a shard, the catalog, the read model or Temporal does not answer: then there is no
        result."""
        await self._check_shards()
        await self._check_read_model()
        await self.check_sagas()
        for saga in self.abandoned.values():
            self._add([fault for fault in judge(saga) if fault.while_open])

    async def check_sagas(self) -> None:
        """Checks every saga that Temporal or a shard knows, across the shards and against its workflow. That no
        workflow works on a saga is not damage in itself: see `abandoned`.
        """
        counted = await count_sagas(self._cluster)
        listed = await self._check_workflows(counted.with_workflow)
        self.expired = max(0, counted.with_workflow - listed)
        await self._check_rows(counted.sagas)

    async def _check_workflows(self, claimed: int) -> int:
        """Checks that every workflow has rows. Workflows are listed before rows are read, so that a closed one cannot
        get rows later. Returns how many of those listed have rows.
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
        known = await known_states(self._cluster, [each.saga_id for each in page])
        unknown: dict[str, tuple[str, ...]] = {}
        for workflow in page:
            if workflow.saga_id not in known:
                unknown[workflow.saga_id] = SagaFacts(workflow.saga_id).workflow_ids
            if workflow.work is Work.CLOSED and workflow.status in _SUCCEEDED:
                self._check_success(workflow.saga_id, workflow.status, known.get(workflow.saga_id))
        await self._settle(unknown)
        return len(page) - len(unknown)

    def _check_success(self, saga_id: str, status: str | None, state: str | None) -> None:
        if state != _CONFIRMED:
            what = f"the workflow of {_noun(saga_id)} ended as {status}, but its row is {state or 'nowhere'}"
            check = Check.TRANSFERS if saga_id.startswith(TRANSFER_PREFIX) else Check.ORDERS
            self.findings.add_violations(check, [Violation(what, None, {"saga_id": saga_id, "state": state})])

    async def _check_shards(self) -> None:
        for each in await disagreements(self._cluster):
            about = {"given": each.given, "owned": each.owned}
            self.findings.add_violations(Check.PLACEMENT, [Violation(each.message, each.shard, about)])
        shards = list(self._cluster.primaries.values())
        for done, shard in enumerate(shards):
            self._progress("shards", done, len(shards))
            young = await check_shard(shard, self.findings, self._forgotten_after_seconds)
            self.in_flight.prepared_transactions += young
            placed = await check_placement(self._cluster, shard)
            self.findings.add_checked(Check.PLACEMENT, placed.checked)
            not_shown = placed.violation_count - len(placed.violations)
            self.findings.add_violations(Check.PLACEMENT, placed.violations, not_shown)

    async def _check_read_model(self) -> None:
        read_model = self._cluster.read_model
        for done, (name, shard) in enumerate(self._cluster.primaries.items()):
            self._progress("read model, shards", done, len(self._cluster.primaries))
            self.projected[name] = await check_projected(shard, read_model, self.findings)
        await check_version(read_model, self.findings)

    async def _check_rows(self, claimed: int) -> None:
        suspects: dict[str, tuple[str, ...]] = {}
        done = 0
        async with aclosing(read_all(self._cluster)) as sagas:
            async for saga in sagas:
                done += 1
                if judge(saga):
                    suspects[saga.saga_id] = saga.workflow_ids
                if len(suspects) == BATCH:
                    await self._settle(suspects)
                    suspects = {}
                if done % BATCH == 0:
                    self._progress("sagas", done, max(done, claimed))
        await self._settle(suspects)

    async def _settle(self, suspects: Mapping[str, tuple[str, ...]]) -> None:
        """Decides for each suspect whether it is in flight, damaged, or done meanwhile.

        `suspects` maps saga ids to the workflows that may work on them, as far as known: the first facts of a transfer
        may lack the row with its batch, and a choreographed order passes from one reactor to the next.
        """
        unsettled = dict(suspects)
        for _ in range(LOOKS_MAX):
            if not unsettled:
                return
            before = await self._states(unsettled)
            still = await gather_consistent(self._cluster, list(unsettled))
            after = await self._states({saga_id: unsettled[saga_id] for saga_id in still})
            settled = {
                saga_id
                for saga_id, saga in still.items()
                if saga.workflow_ids == unsettled[saga_id] and self._settled(saga, before[saga_id], after[saga_id])
            }
            workflows = unsettled | {saga_id: saga.workflow_ids for saga_id, saga in still.items()}
            unsettled = {saga_id: workflows[saga_id] for saga_id in unsettled if saga_id not in settled}
        self.in_flight.sagas.update(unsettled)

    def _settled(self, saga: SagaFacts, before: WorkflowState, after: WorkflowState) -> bool:
        """False if the workflow ended or began between the two queries: the rows may not show that yet."""
        faults = judge(saga)
        at_work = after.work is Work.OPEN or saga.is_unread
        damage = [fault for fault in faults if not fault.while_open]
        if not at_work and len(damage) < len(faults):
            if before != after:
                return False
            without_trace = saga.is_empty and (after.completed or after.refused)
            if without_trace and (saga.is_transfer or after.refused):
                return True  # Refused before it had a row.
            # A completed order has claimed its id. If no row shows that, it belongs to other databases, or all shards
            # that had rows of it were restored to a time before it.
            if without_trace:
                damage = faults
            else:
                # Only once, however many runs of its workflow are listed.
                self.abandoned[saga.saga_id] = saga
        if at_work and (faults or not saga.is_known):
            self.in_flight.add(saga)
        if damage and saga.saga_id not in self._damaged:
            self._damaged.add(saga.saga_id)
            self._add(damage)
        return True

    def _add(self, damage: Sequence[Fault]) -> None:
        for fault in damage:
            self.findings.add_violations(fault.check, [fault.violation])

    async def _states(self, workflow_ids: Mapping[str, tuple[str, ...]]) -> dict[str, WorkflowState]:
        """By saga id, the joint state of its workflows. A workflow that several sagas share is queried once."""
        limit = asyncio.Semaphore(DESCRIBED_AT_ONCE_MAX)

        async def describe(workflow_id: str) -> WorkflowState:
            async with limit:
                return await self._workflows.state_of(workflow_id)

        distinct = list(dict.fromkeys(each for several in workflow_ids.values() for each in several))
        states = dict(zip(distinct, await asyncio.gather(*(describe(each) for each in distinct)), strict=True))
        return {saga_id: together([states[each] for each in several]) for saga_id, several in workflow_ids.items()}


def _noun(saga_id: str) -> str:
    return saga_id.replace("/", " ", 1)
