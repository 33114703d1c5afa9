"""Customers, products and stock."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from domain.catalogue import Customer, Product, check_name
from domain.identifiers import check_identifier
from domain.numbers import check_quantity
from shards.catalogue.imports import Imported, import_customers, import_products
from shards.catalogue.reads import ListedProduct, read_product
from shards.catalogue.renames import NamedProduct, rename_product
from shards.stock import levels
from shards.stock.levels import StockLevel
from shardwise.connections import Installation
from shardwise.profiles import Profiles
from shardwise.reading import Consistency, Reading

__all__ = [
    "Catalogue",
    "Customer",
    "Imported",
    "ListedProduct",
    "NamedCustomer",
    "NamedProduct",
    "Product",
    "StockLevel",
    "StockReceipt",
    "new_receipt_id",
]


@dataclass(frozen=True, slots=True)
class NamedCustomer:
    """The names of a profile. `changed`: by this call."""

    customer_id: str
    name: str
    email: str | None
    version: int
    shard: str
    changed: bool


@dataclass(frozen=True, slots=True)
class StockReceipt(StockLevel):
    """The level after goods came in."""

    receipt_id: str


class Catalogue:
    """Raises `NotFound` with `unknown_sku` or `unknown_customer`, `Refused`, `InvalidInput`, and `Unreachable` if the
    shard is down."""

    def __init__(self, installation: Installation, reading: Reading) -> None:
        self._installation = installation
        self._reading = reading

    async def import_customers(
        self, customers: Iterable[Customer], on_progress: Callable[[int], None] = lambda _: None
    ) -> Imported:
        """Registers customers, each with an account and its opening balance.

        Idempotent by id and content. `InvalidInput` for a customer that no rule allows; `Refused` with `id_conflict` or
        `currency_withdrawn`: nothing was changed then. Never undone. A crash leaves some customers whole and the others
        absent: a repeat adds these. `on_progress` is called after each batch with the number of its customers.
        """
        imported = await import_customers(self._installation.without_timeouts.router, customers, on_progress)
        await self._reading.wrote_anywhere()
        return imported

    async def import_products(
        self, products: Iterable[Product], on_progress: Callable[[int], None] = lambda _: None
    ) -> Imported:
        """Adds products with their stock, with the same promises as `import_customers`. The first import spreads the
        SKUs over the shards."""
        imported = await import_products(self._installation.without_timeouts.router, products, on_progress)
        await self._reading.wrote_anywhere()
        return imported

    async def rename_customer(self, customer_id: str, name: str, email: str | None = None) -> NamedCustomer:
        """`profiles.set` with a name, and perhaps an email: the id stays. Idempotent. Undone by a rename back. A crash
        leaves all of it or nothing."""
        check_name(name, "name")
        changed = await Profiles(self._installation, self._reading).set(customer_id, name, email)
        return NamedCustomer(
            changed.customer_id, changed.name, changed.email, changed.version, changed.shard, changed.changed
        )

    async def rename_product(self, sku: str, name: str) -> NamedProduct:
        """Gives a product another name. The SKU stays. Idempotent. Undone by a rename back. A crash leaves all of it or
        nothing."""
        check_identifier(sku, "sku")
        check_name(name, "name")
        renamed = await rename_product(self._installation.with_timeouts.router, sku, name)
        await self._reading.wrote(lambda m: [m.of_sku(sku)])
        return renamed

    async def product(self, sku: str, consistency: Consistency = None) -> ListedProduct:
        """Its name and its price. With a session at least what the session wrote, else perhaps a moment old, unless
        another level is named."""
        check_identifier(sku, "sku")
        return await read_product(self._reading.following(consistency), sku)

    async def stock(self, sku: str, consistency: Consistency = None) -> StockLevel:
        """How much is on hand, reserved and available at this moment, or at another level."""
        check_identifier(sku, "sku")
        return await self._reading.strong(consistency).read(
            lambda m: m.of_sku(sku), lambda tx: levels.read_level(tx, sku)
        )

    async def receive(self, sku: str, quantity: int, receipt_id: str | None = None) -> StockReceipt:
        """Adds goods that came in. Idempotent by receipt id; without one, a repeat adds once more. Never undone.

        A crash leaves all of it or nothing. `Refused` with `id_conflict` if the receipt was for something else.
        """
        check_identifier(sku, "sku")
        check_quantity(quantity, "quantity")
        chosen = new_receipt_id() if receipt_id is None else check_identifier(receipt_id, "receipt_id")
        level = await self._installation.with_timeouts.router.write(
            lambda m: m.of_sku(sku), lambda tx: levels.receive(tx, chosen, sku, quantity)
        )
        await self._reading.wrote(lambda m: [m.of_sku(sku)])
        return StockReceipt(**asdict(level), receipt_id=chosen)


def new_receipt_id() -> str:
    return uuid.uuid4().hex
