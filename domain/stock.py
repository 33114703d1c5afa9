"""The rules of what may be sold, and from which stock."""

from __future__ import annotations

from domain.sagas import Reason, Refusal


def why_not_sold(sku: str, sold_in: str | None, currency: str) -> Refusal | None:
    """Why an order in `currency` cannot have the product, or None if it can. `sold_in` None: there is no product."""
    if sold_in is None:
        return Refusal(Reason.UNKNOWN_SKU, f"there is no product {sku}")
    if sold_in != currency:
        return Refusal(Reason.CURRENCY_MISMATCH, f"{sku} is sold in {sold_in}, the order is in {currency}")
    return None


def out_of_stock(sku: str, quantity: int, available: int) -> Refusal | None:
    """Why `quantity` cannot be reserved, or None if it can."""
    if available >= quantity:
        return None
    return Refusal(Reason.OUT_OF_STOCK, f"{sku}: {quantity} wanted, {available} available")
