"""A shop, and endless orders for it: always the same ones for the same seed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

from tests.support.command import Shardwise

CUSTOMERS = 60
PRODUCTS = 30


@dataclass(frozen=True)
class Wanted:
    """An order as it was placed: the quantity of each SKU."""

    order_id: str
    customer_id: str
    quantities: dict[str, int]

    @property
    def minor(self) -> int:
        """What it costs, in cents."""
        return sum(quantity * PRICES[sku] for sku, quantity in self.quantities.items())


# In cents, and in units. Some customers are poor and some goods scarce, so that orders are refused for each reason.
BALANCES = {f"c{n}": 40_00 if n % 6 == 0 else 1_000_000_00 for n in range(CUSTOMERS)}
PRICES = {f"s{n:02}": 150 + 100 * n for n in range(PRODUCTS)}
STOCK = {f"s{n:02}": 20 if n % 5 == 0 else 1_000_000 for n in range(PRODUCTS)}


def open_shop(shardwise: Shardwise, folder: Path) -> None:
    customers, products = folder / "customers.csv", folder / "products.csv"
    rows = [f"{name},Customer {name},,USD,{_decimal(cents)}" for name, cents in BALANCES.items()]
    customers.write_text("customer_id,name,email,currency,opening_balance\n" + "\n".join(rows) + "\n")
    rows = [f"{sku},Product {sku},USD,{_decimal(PRICES[sku])},{STOCK[sku]}" for sku in STOCK]
    products.write_text("sku,name,currency,unit_price,stock\n" + "\n".join(rows) + "\n")
    for kind, file in (("customers", customers), ("products", products)):
        imported = shardwise.inside("import", kind, str(file))
        assert imported.exit_code == 0, imported


def write_orders(file: Path, chance: random.Random, prefix: str, count: int) -> list[Wanted]:
    orders = [_order(chance, f"{prefix}-{number}") for number in range(count)]
    file.write_text("".join(json.dumps(_document(order)) + "\n" for order in orders))
    return orders


def _order(chance: random.Random, order_id: str) -> Wanted:
    skus = chance.sample(sorted(PRICES), chance.randint(1, 4))
    quantities = {sku: chance.randint(1, 5) for sku in skus}
    return Wanted(order_id, f"c{chance.randrange(CUSTOMERS)}", quantities)


def _document(order: Wanted) -> dict[str, object]:
    lines = [{"sku": sku, "quantity": quantity} for sku, quantity in order.quantities.items()]
    return {"order_id": order.order_id, "customer_id": order.customer_id, "currency": "USD", "lines": lines}


def _decimal(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"
