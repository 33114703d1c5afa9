"""The customers and products of `cli/sample`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.resources import as_file, files
from typing import TypeVar

from domain.catalogue import (
    CUSTOMER_COLUMNS,
    PRODUCT_COLUMNS,
    Customer,
    Product,
    customer_of_row,
    product_of_row,
)
from shardwise.files.csv_file import Row, read_csv

R = TypeVar("R", bound=Row)


def sample_customers() -> list[Customer]:
    return _sample("customers.csv", CUSTOMER_COLUMNS, customer_of_row, lambda customer: customer.customer_id)


def sample_products() -> list[Product]:
    return _sample("products.csv", PRODUCT_COLUMNS, product_of_row, lambda product: product.sku)


def _sample(
    name: str, columns: Sequence[str], row_of: Callable[[Mapping[str, str]], R], key_of: Callable[[R], str]
) -> list[R]:
    with as_file(files("cli") / "sample" / name) as path:
        return read_csv(path, columns, row_of, key_of)
