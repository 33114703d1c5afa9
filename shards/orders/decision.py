"""The decision of an order: the one compare-and-set on its row, on its customer's shard. It is the saga's pivot."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from domain.choreography import EventKind
from domain.errors import TryAgain
from domain.events import AccountEvent
from domain.identifiers import merchant_account_id, order_saga_id
from domain.money import Money
from domain.orders import OrderState
from domain.sagas import ALREADY_COMPENSATED, Decision, Reason, Refusal, SagaOutcome
from shards.accounts import holds
from shards.orders.events import CHANGED, append_order_event
from shards.orders.order_row import OPEN_STEP
from shards.outbox.appending import append_event
from shards.routing.shard_transaction import ShardTransaction
from shards.sagas import barrier

# Of an orchestrated order `choreography` is NULL, and NULL || anything stays NULL.
_CONFIRM_AND_SHIP = text(f"""
    WITH confirmed AS (
        UPDATE orders SET state = 'confirmed', decided_at = now(), version = version + 1,
            choreography = choreography || jsonb_build_object('event', '{EventKind.ORDER_CONFIRMED}')
        WHERE id = :id AND state = 'pending' RETURNING id, ship_to, {CHANGED}
    ), shipped AS (
        INSERT INTO shipment (order_id, ship_to) SELECT id, ship_to FROM confirmed
    )
    SELECT {CHANGED} FROM confirmed
""")
_ABORT = text(f"""
    UPDATE orders SET state = 'aborting', reason = CAST(:reason AS text), detail = CAST(:detail AS text),
        decided_at = now(), version = version + 1,
        choreography = choreography || jsonb_build_object('event', '{EventKind.ORDER_ABORTING}', 'refusal',
            jsonb_build_object('reason', CAST(:reason AS text), 'detail', CAST(:detail AS text)))
    WHERE id = :id AND state = 'pending' RETURNING {CHANGED}
""")
_READ_DECISION = text("SELECT state, reason, detail, currency, total FROM orders WHERE id = :id")


async def decide(tx: ShardTransaction, order_id: str, refusal: Refusal | None) -> Decision:
    """The pivot: `pending -> confirmed` if `refusal` is None, else `pending -> aborting`. The first call wins.

    Confirming captures the payment and requests the shipment in the same transaction. Every later call returns the
    first decision, whatever it asks for. If there is no row, the order can never be opened any more (`ABSENT`);
    `TryAgain` if it is being opened at this moment. Idempotent, never undone. A crash leaves the order undecided, or
    decided with all that belongs to it.
    """
    saga_id = order_saga_id(order_id)
    decision = await _try_to_decide(tx, order_id, saga_id, refusal)
    if decision is None:
        return Decision(SagaOutcome.ABSENT, await _never_open(tx, order_id, saga_id, refusal))
    return decision


async def _try_to_decide(tx: ShardTransaction, order_id: str, saga_id: str, refusal: Refusal | None) -> Decision | None:
    if refusal is None:
        confirmed = (await tx.execute(_CONFIRM_AND_SHIP, id=order_id)).one_or_none()
        if confirmed is not None:
            total = Money(confirmed.total, confirmed.currency)
            await _capture(tx, saga_id, total)
            append_order_event(tx, order_id, confirmed, EventKind.ORDER_CONFIRMED, total=str(total))
            return Decision(SagaOutcome.CONFIRMED, None, total)
    else:
        aborted = (await tx.execute(_ABORT, id=order_id, reason=refusal.reason, detail=refusal.detail)).one_or_none()
        if aborted is not None:
            append_order_event(tx, order_id, aborted, EventKind.ORDER_ABORTING, reason=refusal.reason)
            return Decision(SagaOutcome.ABORTING, refusal, Money(aborted.total, aborted.currency))
    row = (await tx.execute(_READ_DECISION, id=order_id)).one_or_none()
    return _decision_of(row) if row is not None else None


def _decision_of(row: Any) -> Decision:
    total = Money(row.total, row.currency)
    if row.state == OrderState.CONFIRMED:
        return Decision(SagaOutcome.CONFIRMED, None, total)
    if row.state == OrderState.PENDING:
        # The row was inserted after our UPDATE had looked for it.
        raise TryAgain("the order was opened just now")
    return Decision(SagaOutcome.ABORTING, Refusal(Reason(row.reason), row.detail), total)


async def _capture(tx: ShardTransaction, saga_id: str, total: Money) -> None:
    if total.minor > 0:
        peer = merchant_account_id(total.currency)
        captured = await holds.capture_hold(tx, saga_id, OPEN_STEP, total, peer)
        append_event(
            tx,
            saga_id,
            AccountEvent.PAYMENT_CAPTURED,
            captured.account_id,
            captured.account_version,
            amount=str(total),
        )


async def _never_open(tx: ShardTransaction, order_id: str, saga_id: str, refusal: Refusal | None) -> Refusal:
    """Bars the order from ever being opened. Returns the reason that the first such call gave."""

    async def look_again() -> None:
        # `open_order` ran: either it refused and left no row, or it committed while we waited for it.
        if (await tx.execute(_READ_DECISION, id=order_id)).first() is not None:
            raise TryAgain("the order was opened just now")

    kept = await barrier.undo_once(tx, saga_id, OPEN_STEP, look_again, refusal or ALREADY_COMPENSATED)
    return kept or ALREADY_COMPENSATED
