"""Renames products. The SKU stays, and so does the content hash of the import: importing the same file again still
changes nothing. A customer's name is part of its profile: see `profiles`."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from domain.errors import NotFound, Refused, Unreachable
from domain.events import ProductEvent
from shards.connections.database_errors import DatabaseFailure
from shards.outbox.appending import append_event
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction

# NO KEY, so that inserts of stock that refer to the row need not wait.
_LOCK = text("SELECT name, version FROM product WHERE sku = :sku FOR NO KEY UPDATE")
_RENAME = text("UPDATE product SET name = :name, version = version + 1 WHERE sku = :sku RETURNING version")


@dataclass(frozen=True, slots=True)
class NamedProduct:
    """`changed`: by this call."""

    sku: str
    name: str
    version: int
    shard: str
    changed: bool


async def rename_product(router: Router, sku: str, name: str) -> NamedProduct:
    """Gives a product this name, in one transaction with its event.

    Idempotent: if nothing differs, nothing is changed and no event is appended. Undone by renaming back. A crash leaves
    all of it or nothing. `NotFound` with `unknown_sku`; `Unreachable` with `product_busy`, nothing changed, if the row
    was locked for too long.
    """

    async def rename(tx: ShardTransaction) -> NamedProduct | Refused:
        """Returns a refusal instead of raising it: it counts only if the shard owns the key, which is checked last."""
        row = (await tx.execute(_LOCK, sku=sku)).one_or_none()
        if row is None:
            return NotFound("unknown_sku", f"there is no product {sku}", "sku")
        if row.name == name:
            return NamedProduct(sku, name, row.version, tx.route.shard, False)
        version = (await tx.execute(_RENAME, sku=sku, name=name)).scalar_one()
        append_event(tx, f"product/{sku}", ProductEvent.RENAMED, sku, version, name=name)
        return NamedProduct(sku, name, version, tx.route.shard, True)

    try:
        answer = await router.write(lambda m: m.of_sku(sku), rename)
    except DatabaseFailure as failure:
        message = f"product {sku} was not renamed ({failure.message}): try again"
        raise Unreachable("product_busy", message) from failure
    if isinstance(answer, Refused):
        raise answer
    return answer
