"""Transfers, over the shards. Contracts: `activities.interfaces.TransferActivities`."""

from __future__ import annotations

from temporalio import activity

from activities.effects import failures_translated
from activities.interfaces import DecideTransfer, OpenedTransfer, OpenTransfer, StepResult, TransferActivities
from domain.sagas import Decision, Reason, Refusal
from domain.shard_map import Route, ShardMap
from domain.transfers import Protocol, ProtocolChoice, Transfer
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction
from shards.transfers import admissions, transfer_row
from shards.transfers.transfer_row import TransferRow


class ShardedTransferActivities(TransferActivities):
    def __init__(self, router: Router) -> None:
        self._router = router

    @activity.defn
    @failures_translated
    async def open_transfer(self, request: OpenTransfer) -> OpenedTransfer:
        transfer = request.transfer
        target: Route

        def source_of(shard_map: ShardMap) -> Route:
            # Both by the same map: a transfer within a shard is fenced for both accounts at once.
            nonlocal target
            target = shard_map.of_account(transfer.target)
            return shard_map.of_account(transfer.source)

        async def effect(tx: ShardTransaction) -> OpenedTransfer:
            protocol = _protocol(request.protocol, tx.route, target)
            if protocol is Protocol.LOCAL:
                tx.also_on(target)
            if protocol is None:
                opened = await transfer_row.find(tx, transfer) or _not_local(transfer, tx.route, target)
            else:
                opened = await transfer_row.open_transfer(tx, transfer, protocol)
            return _opened(opened, tx.route.shard, target.shard)

        return await self._router.write(source_of, effect)

    @activity.defn
    @failures_translated
    async def admit_transfer(self, transfer: Transfer) -> StepResult:
        refusal = await self._router.write(
            lambda m: m.of_account(transfer.target), lambda tx: admissions.admit(tx, transfer)
        )
        return StepResult(refusal)

    @activity.defn
    @failures_translated
    async def decide_transfer(self, request: DecideTransfer) -> Decision:
        return await self._router.write(
            lambda m: m.of_account(request.transfer.source),
            lambda tx: transfer_row.decide(tx, request.transfer, request.protocol, request.refusal),
        )

    @activity.defn
    @failures_translated
    async def credit_transfer(self, transfer: Transfer) -> None:
        await self._router.write(lambda m: m.of_account(transfer.target), lambda tx: admissions.credit(tx, transfer))

    @activity.defn
    @failures_translated
    async def withdraw_admission(self, transfer: Transfer) -> None:
        await self._router.write(lambda m: m.of_account(transfer.target), lambda tx: admissions.withdraw(tx, transfer))


def _protocol(choice: ProtocolChoice, source: Route, target: Route) -> Protocol | None:
    return Protocol.LOCAL if source.shard == target.shard else choice.across_shards()


def _not_local(transfer: Transfer, source: Route, target: Route) -> Refusal:
    detail = f"{transfer.source} is on {source.shard}, {transfer.target} on {target.shard}: use saga or 2pc"
    return Refusal(Reason.NOT_LOCAL, detail)


def _opened(row: TransferRow | Refusal, source_shard: str, target_shard: str) -> OpenedTransfer:
    if isinstance(row, Refusal):
        return OpenedTransfer(row, source_shard, target_shard)
    return OpenedTransfer(row.refusal, source_shard, target_shard, row.protocol, row.state, row.declined_at_once)
