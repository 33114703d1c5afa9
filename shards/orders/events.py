"""The events of an order's own row, in both styles. Events of a choreographed order carry what its reactors need, and
its row keeps the newest one.

The statement that changes the row raises its version, under the row's lock, so no two events share a version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.choreography import Choreography, EventKind, OrderEvent
from domain.errors import InvalidInput
from domain.events import Aggregate
from domain.identifiers import order_saga_id
from domain.money import Money
from domain.orders import OrderState
from domain.sagas import Refusal
from shards.outbox.appending import append_event
from shards.outbox.slice import WITHIN, Slice
from shards.routing.shard_transaction import ShardTransaction

# The columns of a changed row that `append_order_event` needs.
CHANGED = "version, customer_id, currency, total, choreography"

_ADVANCE = text(f"""
    UPDATE orders SET version = version + 1, choreography = choreography || :news
    WHERE id = :id AND state = :state AND choreography IS NOT NULL RETURNING {CHANGED}
""").bindparams(bindparam("news", type_=JSONB))
_NEWEST = text(f"SELECT {CHANGED} FROM orders WHERE id = :id AND choreography IS NOT NULL")
_VERSIONS = text("SELECT id, version FROM orders WHERE id = ANY(:ids) AND choreography IS NOT NULL")
_READ = text(f"""
    SELECT aggregate, aggregate_id, aggregate_version AS version, kind, payload -> 'choreography' AS choreography
    FROM outbox WHERE {WITHIN} AND aggregate = '{Aggregate.ORDER}' AND payload -> 'choreography' IS NOT NULL
    ORDER BY xid, id
""")
_COUNT = text(f"SELECT count(*) FROM outbox WHERE {WITHIN}")

_CHOREOGRAPHY = TypeAdapter(Choreography)
_REFUSAL = TypeAdapter[Refusal | None](Refusal | None)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """As the outbox holds it; `choreography` is plain JSON."""

    aggregate: str
    aggregate_id: str
    version: int
    kind: str
    choreography: Any

    def parsed(self) -> OrderEvent:
        """Raises `InvalidInput` if no reactor can take it."""
        try:
            choreography = _CHOREOGRAPHY.validate_python(self.choreography)
            return OrderEvent(self.aggregate_id, self.version, EventKind(self.kind), choreography)
        except ValueError as error:
            raise InvalidInput(self.kind, " ".join(str(error).split())) from error


def as_stored(choreography: Choreography) -> dict[str, Any]:
    """The value of the `choreography` column at the first event: only what no other column holds."""
    kept = _CHOREOGRAPHY.dump_python(choreography, mode="json", exclude={"customer_id", "total"})
    return {**kept, "event": EventKind.ORDER_PLACED}


def append_order_event(tx: ShardTransaction, order_id: str, changed: Any, kind: EventKind, **payload: Any) -> None:
    """Appends an event of the order. `changed`: the changed row with the columns of `CHANGED`."""
    if changed.choreography is not None:
        payload["choreography"] = _carried(changed)
    append_event(tx, order_saga_id(order_id), kind, order_id, changed.version, **payload)


async def advance(
    tx: ShardTransaction, order_id: str, state: OrderState, kind: EventKind, refusal: Refusal | None = None
) -> bool:
    """Appends the next event of a choreographed order that is in `state`; `refusal` says why it is to be aborted.

    Returns False and changes nothing if it is in another state. Call it in a barrier step, which makes it idempotent.
    """
    news: dict[str, Any] = {"event": kind}
    if refusal is not None:
        news["refusal"] = _REFUSAL.dump_python(refusal, mode="json")
    changed = (await tx.execute(_ADVANCE, id=order_id, state=state, news=news)).one_or_none()
    if changed is not None:
        append_order_event(tx, order_id, changed, kind, **({"reason": refusal.reason} if refusal is not None else {}))
    return changed is not None


async def newest(connection: AsyncConnection, order_id: str) -> OrderEvent | None:
    """The order's newest event, read from its row; None if no choreographed order has this id. Changes nothing.
    `InvalidInput` if no reactor can take it."""
    row = (await connection.execute(_NEWEST, {"id": order_id})).one_or_none()
    if row is None:
        return None
    kind = row.choreography["event"]
    return StoredEvent(Aggregate.ORDER, order_id, row.version, kind, _carried(row)).parsed()


async def newest_versions(connection: AsyncConnection, order_ids: Sequence[str]) -> dict[str, int]:
    """The versions of those of these orders that are choreographed and have a row. Changes nothing."""
    return {row.id: row.version for row in await connection.execute(_VERSIONS, {"ids": list(order_ids)})}


async def read_choreographed(snapshot: AsyncConnection, slice_: Slice) -> tuple[Sequence[StoredEvent], int]:
    """The events of choreographed orders in a slice, and how many events of any kind it holds. Changes nothing."""
    count = (await snapshot.execute(_COUNT, slice_.bound)).scalar_one()
    rows = await snapshot.execute(_READ, slice_.bound) if count else ()
    return [StoredEvent(*row) for row in rows], int(count)


def _carried(row: Any) -> dict[str, Any]:
    kept = {name: value for name, value in row.choreography.items() if name != "event"}
    return {**kept, "customer_id": row.customer_id, "total": str(Money(row.total, row.currency))}
