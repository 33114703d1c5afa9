"""Endless orders, always the same ones for the same seed."""

from __future__ import annotations

import json
import random
from pathlib import Path

CUSTOMERS = 60
PRODUCTS = 30


def write_catalogue(folder: Path) -> tuple[Path, Path]:
    """Customers of whom some are poor, products of which some are scarce."""
    customers, products = folder / "customers.csv", folder / "products.csv"
    rows = [f"c{n},Customer {n},,USD,{'40.00' if n % 6 == 0 else '1000000.00'}" for n in range(CUSTOMERS)]
    customers.write_text("customer_id,name,email,currency,opening_balance\n" + "\n".join(rows) + "\n")
    rows = [f"s{n:02},Product {n},USD,{1 + n}.50,{20 if n % 5 == 0 else 1000000}" for n in range(PRODUCTS)]
    products.write_text("sku,name,currency,unit_price,stock\n" + "\n".join(rows) + "\n")
    return customers, products


def write_orders(file: Path, chance: random.Random, prefix: str, count: int) -> None:
    with file.open("w") as out:
        for number in range(count):
            skus = chance.sample(range(PRODUCTS), chance.randint(1, 4))
            lines = [{"sku": f"s{sku:02}", "quantity": chance.randint(1, 5)} for sku in skus]
            order = {
                "order_id": f"{prefix}-{number}",
                "customer_id": f"c{chance.randrange(CUSTOMERS)}",
                "currency": "USD",
                "lines": lines,
            }
            out.write(json.dumps(order) + "\n")
