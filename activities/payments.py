"""Money that arrives on another shard. Contracts: `activities.interfaces.PaymentActivities`."""

from __future__ import annotations

from pydantic import TypeAdapter
from temporalio import activity

from activities.effects import failures_translated
from activities.interfaces import CreditMerchant, PaymentActivities
from domain.events import AccountEvent
from domain.identifiers import merchant_account_id
from domain.steps import Step
from shards.accounts import ledger
from shards.outbox.appending import append_event
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction
from shards.sagas import barrier

_NOTHING = TypeAdapter(None)


class ShardedPaymentActivities(PaymentActivities):
    def __init__(self, router: Router) -> None:
        self._router = router

    @activity.defn
    @failures_translated
    async def credit_merchant(self, request: CreditMerchant) -> None:
        merchant = merchant_account_id(request.amount.currency)

        async def credit(tx: ShardTransaction) -> None:
            version = await ledger.credit(tx, request.saga_id, merchant, request.amount, peer=request.customer_id)
            append_event(
                tx, request.saga_id, AccountEvent.MERCHANT_CREDITED, merchant, version, amount=str(request.amount)
            )

        async def effect(tx: ShardTransaction) -> None:
            await barrier.do_once(
                tx, request.saga_id, Step.CREDIT_MERCHANT.barrier_step(), lambda: credit(tx), _NOTHING
            )

        await self._router.write(lambda m: m.of_pinned(merchant), effect)
