"""Renames customers and products. Ids stay, and so does the content hash of the import: importing the same file again
still changes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import text

from domain.errors import NotFound, Refused, Unreachable
from domain.events import CustomerEvent, ProductEvent
from domain.shard_map import Route, ShardMap
from shards.connections.database_errors import DatabaseFailure
from shards.outbox.appending import append_event
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction

# NO KEY, so that inserts of orders and stock that refer to these rows need not wait.
_LOCK_CUSTOMER = text("SELECT name, email, version FROM customer WHERE id = :id FOR NO KEY UPDATE")
_RENAME_CUSTOMER = text("""
    UPDATE customer SET name = :name, email = :email, version = version + 1 WHERE id = :id RETURNING version
""")
_LOCK_PRODUCT = text("SELECT name, version FROM product WHERE sku = :sku FOR NO KEY UPDATE")
_RENAME_PRODUCT = text("UPDATE product SET name = :name, version = version + 1 WHERE sku = :sku RETURNING version")


@dataclass(frozen=True, slots=True)
class NamedCustomer:
    """`changed`: by this call."""

    customer_id: str
    name: str
    email: str | None
    version: int
    shard: str
    changed: bool


@dataclass(frozen=True, slots=True)
class NamedProduct:
    """`changed`: by this call."""

    sku: str
    name: str
    version: int
    shard: str
    changed: bool


Named = TypeVar("Named", NamedCustomer, NamedProduct)


async def rename_customer(router: Router, customer_id: str, name: str, email: str | None = None) -> NamedCustomer:
    """Gives a customer this name, and this email if one is given, in one transaction with its event.

    Idempotent: if nothing differs, nothing is changed and no event is appended. Undone by renaming back. A crash leaves
    all of it or nothing. `NotFound` with `unknown_customer`; `Unreachable` with `customer_busy`, nothing changed, if
    the row was locked for too long.
    """

    async def rename(tx: ShardTransaction) -> NamedCustomer | Refused:
        row = (await tx.execute(_LOCK_CUSTOMER, id=customer_id)).one_or_none()
        if row is None:
            return NotFound("unknown_customer", f"there is no customer {customer_id}", "customer_id")
        new_email = row.email if email is None else email
        if (row.name, row.email) == (name, new_email):
            return NamedCustomer(customer_id, name, new_email, row.version, tx.route.shard, False)
        version = (await tx.execute(_RENAME_CUSTOMER, id=customer_id, name=name, email=new_email)).scalar_one()
        saga_id = f"customer/{customer_id}"
        append_event(tx, saga_id, CustomerEvent.RENAMED, customer_id, version, name=name, email=new_email)
        return NamedCustomer(customer_id, name, new_email, version, tx.route.shard, True)

    return await _renamed(router, f"customer {customer_id}", lambda m: m.of_customer(customer_id), rename)


async def rename_product(router: Router, sku: str, name: str) -> NamedProduct:
    """Like `rename_customer`; `NotFound` with `unknown_sku`, `Unreachable` with `product_busy`."""

    async def rename(tx: ShardTransaction) -> NamedProduct | Refused:
        row = (await tx.execute(_LOCK_PRODUCT, sku=sku)).one_or_none()
        if row is None:
            return NotFound("unknown_sku", f"there is no product {sku}", "sku")
        if row.name == name:
            return NamedProduct(sku, name, row.version, tx.route.shard, False)
        version = (await tx.execute(_RENAME_PRODUCT, sku=sku, name=name)).scalar_one()
        append_event(tx, f"product/{sku}", ProductEvent.RENAMED, sku, version, name=name)
        return NamedProduct(sku, name, version, tx.route.shard, True)

    return await _renamed(router, f"product {sku}", lambda m: m.of_sku(sku), rename)


async def _renamed(
    router: Router,
    noun_and_id: str,
    route_of: Callable[[ShardMap], Route],
    rename: Callable[[ShardTransaction], Awaitable[Named | Refused]],
) -> Named:
    """`rename` returns a refusal instead of raising it: it counts only if the shard owns the key, which is checked
    last."""
    try:
        answer = await router.write(route_of, rename)
    except DatabaseFailure as failure:
        message = f"{noun_and_id} was not renamed ({failure.message}): try again"
        raise Unreachable(f"{noun_and_id.split()[0]}_busy", message) from failure
    if isinstance(answer, Refused):
        raise answer
    return answer
