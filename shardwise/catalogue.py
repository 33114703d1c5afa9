"""Customers, products and stock."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from domain.catalogue import Customer, Product, check_name
from domain.identifiers import check_identifier
from domain.numbers import check_quantity
from shards.catalogue.imports import Imported, import_customers, import_products
from shards.catalogue.renames import NamedCustomer, NamedProduct, rename_customer, rename_product
from shards.stock import levels
from shards.stock.levels import StockLevel
from shardwise.connections import Opened

__all__ = [
    "Catalogue",
    "Customer",
    "Imported",
    "NamedCustomer",
    "NamedProduct",
    "Product",
    "StockLevel",
    "StockReceipt",
    "new_receipt_id",
]


@dataclass(frozen=True, slots=True)
class StockReceipt(StockLevel):
    """The level after goods came in."""

    receipt_id: str


class Catalogue:
    """Raises `NotFound` with `unknown_sku` or `unknown_customer`, `Refused`, `InvalidInput`, and `Unreachable` where
    the shard is away."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    async def import_customers(
        self, customers: Iterable[Customer], on_progress: Callable[[int], None] = lambda _: None
    ) -> Imported:
        """Registers customers, each with an account and its opening balance.

        Idempotent by id and content. `InvalidInput` for one that no rule allows; `Refused` with `id_conflict` or
        `currency_withdrawn`: nothing was changed then. Never undone. A crash leaves some customers whole and the others
        absent: the same again adds these. `on_progress` is told how many each finished batch had.
        """
        return await import_customers(self._opened.without_timeouts.router, customers, on_progress)

    async def import_products(
        self, products: Iterable[Product], on_progress: Callable[[int], None] = lambda _: None
    ) -> Imported:
        """Lists products with their stock, as `import_customers` does customers. The first import spreads the SKUs over
        the shards."""
        return await import_products(self._opened.without_timeouts.router, products, on_progress)

    async def rename_customer(self, customer_id: str, name: str, email: str | None = None) -> NamedCustomer:
        """Gives a customer another name, and another email where there is one. The id stays. Idempotent. Undone by a
        rename back. A crash leaves all of it or nothing."""
        check_identifier(customer_id, "customer_id")
        check_name(name, "name")
        if email is not None:
            check_name(email, "email")
        return await rename_customer(self._opened.usual.router, customer_id, name, email)

    async def rename_product(self, sku: str, name: str) -> NamedProduct:
        """Gives a product another name. The SKU stays. Idempotent. Undone by a rename back. A crash leaves all of it or
        nothing."""
        check_identifier(sku, "sku")
        check_name(name, "name")
        return await rename_product(self._opened.usual.router, sku, name)

    async def stock(self, sku: str) -> StockLevel:
        """How much is on hand, reserved and available, as the product's shard has it at this moment."""
        check_identifier(sku, "sku")
        return await self._opened.usual.router.read(lambda m: m.of_sku(sku), lambda tx: levels.read_level(tx, sku))

    async def receive(self, sku: str, quantity: int, receipt_id: str | None = None) -> StockReceipt:
        """Adds goods that came in. Idempotent by receipt id; without one, a repeat adds once more. Never undone.

        A crash leaves all of it or nothing. `Refused` with `id_conflict` where the receipt was for something else.
        """
        check_identifier(sku, "sku")
        check_quantity(quantity, "quantity")
        chosen = new_receipt_id() if receipt_id is None else check_identifier(receipt_id, "receipt_id")
        level = await self._opened.usual.router.write(
            lambda m: m.of_sku(sku), lambda tx: levels.receive(tx, chosen, sku, quantity)
        )
        return StockReceipt(**asdict(level), receipt_id=chosen)


def new_receipt_id() -> str:
    return uuid.uuid4().hex
