"""A transfer across shards as a saga: money is held, its arrival is promised, and then it only goes forward.

    hold on the source (done by `open_transfer`) ─▶ admit on the target ─▶ DECIDE on the source
                                                                              │
        credit the target             ◀── confirmed (captured, in clearing) ──┤
        withdraw the admission        ◀── declined (hold released) ───────────┘

Readers see the money leave before it arrives: no lock is held in between, on either side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from activities.interfaces import DecideTransfer, OpenedTransfer, TransferActivities
from domain.sagas import Decision, Reason, Refusal, SagaOutcome
from domain.transfers import Protocol, Transfer, TransferState
from workflows.saga_steps import SagaSteps, why_abort

CANCELLED = Refusal(Reason.CANCELLED, "cancelled before it was decided")


class TransferSaga:
    """One transfer's saga, from its row's present state: just opened, or left behind by a workflow that was lost."""

    def __init__(self, transfer: Transfer, steps: SagaSteps) -> None:
        self._transfer = transfer
        self._steps = steps
        self._cancellable: asyncio.Task[Refusal | None] | None = None
        self._cancel_requested = False

    def cancel(self) -> None:
        """Wins only before the decision, and never leaves anything half done."""
        self._cancel_requested = True
        if self._cancellable is not None:
            self._cancellable.cancel()

    async def carry_out(self, opened: OpenedTransfer) -> Decision:
        """To the end: credited, or nothing left of it. Call it under `shielded`."""
        decision = decided(opened)
        if decision is None:
            refusal = await self._unless_cancelled(self._admit())
            decision = await self._decide(refusal)
        if decision.is_confirmed:
            await self._credit(opened.target_shard)
        elif not opened.declined_at_once:
            await self._withdraw_admission(opened.target_shard)
        return decision

    async def _admit(self) -> Refusal | None:
        admitted = await self._steps.abortable(
            TransferActivities.admit_transfer,
            self._transfer,
            amount=self._transfer.amount,
            target=self._transfer.target,
        )
        return admitted.refusal

    async def _unless_cancelled(self, work: Coroutine[Any, Any, Refusal | None]) -> Refusal | None:
        """Why the transfer must be declined, or None: it can be confirmed. A cancel ends `work` early."""
        if self._cancel_requested:
            work.close()
            return CANCELLED
        self._cancellable = asyncio.create_task(work)
        return await why_abort(self._cancellable, CANCELLED)

    async def _decide(self, refusal: Refusal | None) -> Decision:
        return await self._steps.to_the_end(
            TransferActivities.decide_transfer,
            DecideTransfer(self._transfer, Protocol.SAGA, refusal),
            because=f"decline, {refusal.reason}" if refusal else f"confirm, {self._transfer.amount} leaves",
        )

    async def _credit(self, target_shard: str) -> None:
        await self._steps.to_the_end(
            TransferActivities.credit_transfer,
            self._transfer,
            target=self._transfer.target,
            amount=self._transfer.amount,
            shard=target_shard,
        )

    async def _withdraw_admission(self, target_shard: str) -> None:
        await self._steps.to_the_end(TransferActivities.withdraw_admission, self._transfer, shard=target_shard)


def decided(opened: OpenedTransfer) -> Decision | None:
    """The decision that the row already holds; None while it is pending."""
    if opened.state is TransferState.PENDING:
        return None
    if opened.state is TransferState.CONFIRMED:
        return Decision(SagaOutcome.CONFIRMED)
    return Decision(SagaOutcome.ABORTING, opened.refusal)
