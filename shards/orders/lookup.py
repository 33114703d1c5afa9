"""The lookup row of an order: keeps its id unique for ever, on the shard of the hash of the order id.

Vitess calls this a lookup vindex. Temporal's workflow-id uniqueness ends with its retention; this does not. It also
keeps the request, so that the saga can be started again after its workflow is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from domain.orders import Order
from domain.sagas import Reason, Refusal
from domain.shard_map import bucket_of
from shards.routing.shard_transaction import ShardTransaction

_CLAIM = text("""
    INSERT INTO order_lookup (order_id, bucket, customer_id, content_hash, request, stock_plan)
    VALUES (:order_id, :bucket, :customer_id, :content_hash, :request, :stock_plan) ON CONFLICT DO NOTHING
""").bindparams(bindparam("request", type_=JSONB), bindparam("stock_plan", type_=JSONB))
_READ = text("""
    SELECT order_id, customer_id, content_hash, request, stock_plan, refused_reason, refused_detail
    FROM order_lookup WHERE order_id = ANY(:order_ids)
""")
_REFUSE = text("""
    UPDATE order_lookup SET refused_reason = :reason, refused_detail = :detail
    WHERE order_id = :order_id AND content_hash = :content_hash AND refused_reason IS NULL
""")

_REQUEST = TypeAdapter(Order)


@dataclass(frozen=True, slots=True)
class Lookup:
    """`refusal` is set only if the order was refused before it had a row."""

    order_id: str
    customer_id: str
    content_hash: str
    request: Order
    stock_plan: Any
    refusal: Refusal | None


async def claim(tx: ShardTransaction, order: Order, stock_plan: Any) -> Lookup:
    """Takes the id. Returns its lookup row: this order's, or the one that was there first. Idempotent. Never undone."""
    await tx.execute(
        _CLAIM,
        order_id=order.order_id,
        bucket=bucket_of(order.order_id),
        customer_id=order.customer_id,
        content_hash=order.content_hash,
        request=_REQUEST.dump_python(order, mode="json"),
        stock_plan=stock_plan,
    )
    return (await read(tx, [order.order_id]))[order.order_id]


async def read(tx: ShardTransaction, order_ids: list[str]) -> dict[str, Lookup]:
    """Those of `order_ids` that are taken. Changes nothing."""
    rows = await tx.execute(_READ, order_ids=order_ids)
    return {
        row.order_id: Lookup(
            row.order_id,
            row.customer_id,
            row.content_hash,
            _REQUEST.validate_python(row.request),
            row.stock_plan,
            Refusal(Reason(row.refused_reason), row.refused_detail) if row.refused_reason else None,
        )
        for row in rows
    }


async def refuse(tx: ShardTransaction, order: Order, refusal: Refusal) -> None:
    """Stores why an order without a row was refused. The first reason stays. Idempotent, never undone."""
    await tx.execute(
        _REFUSE,
        order_id=order.order_id,
        content_hash=order.content_hash,
        reason=refusal.reason,
        detail=refusal.detail,
    )
