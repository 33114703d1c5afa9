"""Lists products on a shard, each with its stock and the receipt of that stock; opens the merchants' accounts."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

from domain.catalogue import Product
from domain.events import AccountEvent, ProductEvent, StockEvent
from domain.identifiers import merchant_account_id
from domain.money import Money
from shards.catalogue.customers import opening_saga_id
from shards.outbox.appending import append_event
from shards.routing.bulk_transaction import BulkTransaction, FirstEvent
from shards.routing.shard_transaction import ShardTransaction

READ_KNOWN = text("SELECT sku FROM product WHERE sku = ANY(CAST(:ids AS text[]))")
READ_OTHER_CONTENT = text("""
    SELECT sku FROM product
    JOIN unnest(CAST(:ids AS text[]), CAST(:hashes AS text[])) AS given (sku, content_hash) USING (sku)
    WHERE product.content_hash <> given.content_hash ORDER BY sku
""")
_LIST = text("""
    INSERT INTO product (sku, name, currency, unit_price, content_hash)
    SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:names AS text[]), CAST(:currencies AS text[]),
                         CAST(:unit_prices AS bigint[]), CAST(:hashes AS text[]))
    ON CONFLICT DO NOTHING RETURNING sku
""")
_PUT_IN_STOCK = text("""
    INSERT INTO stock (sku, sku_range, on_hand)
    SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:sku_ranges AS text[]), CAST(:quantities AS bigint[]))
""")
_WRITE_RECEIPTS = text("""
    INSERT INTO stock_receipt (id, sku, quantity)
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:skus AS text[]), CAST(:quantities AS bigint[]))
""")
_OPEN_MERCHANT = text("""
    INSERT INTO account (id, kind, currency, posted) VALUES (:id, 'merchant', :currency, 0)
    ON CONFLICT DO NOTHING RETURNING id
""")


async def list_products(tx: BulkTransaction, products: Sequence[Product], sku_ranges: Sequence[str]) -> list[str]:
    """Lists new products, with stock, receipts and events, and returns their SKUs.

    `sku_ranges` name each product's range. Idempotent by SKU, whatever the content: the caller compares it. Never
    undone.
    """
    listed = await tx.execute(
        _LIST,
        skus=[product.sku for product in products],
        names=[product.name for product in products],
        currencies=[product.unit_price.currency for product in products],
        unit_prices=[product.unit_price.minor for product in products],
        hashes=[product.content_hash for product in products],
    )
    skus = set(listed.scalars())
    new = [(product, of) for product, of in zip(products, sku_ranges, strict=True) if product.sku in skus]
    if new:
        await tx.execute(
            _PUT_IN_STOCK,
            skus=[product.sku for product, _ in new],
            sku_ranges=[sku_range for _, sku_range in new],
            quantities=[product.stock for product, _ in new],
        )
        await _write_receipts(tx, [product for product, _ in new if product.stock > 0])
        await tx.append_events([event for product, _ in new for event in _events(product)])
    return [product.sku for product, _ in new]


async def _write_receipts(tx: BulkTransaction, products: Sequence[Product]) -> None:
    """On hand equals receipts less consumed goods, so the opening quantity is a receipt too."""
    await tx.execute(
        _WRITE_RECEIPTS,
        ids=[f"opening/{product.sku}" for product in products],
        skus=[product.sku for product in products],
        quantities=[product.stock for product in products],
    )


def _events(product: Product) -> tuple[FirstEvent, FirstEvent]:
    saga_id = f"listing/{product.sku}"
    price = {"name": product.name, "unit_price": str(product.unit_price)}
    return (
        FirstEvent(saga_id, ProductEvent.LISTED, product.sku, price),
        FirstEvent(saga_id, StockEvent.OPENED, product.sku, {"quantity": product.stock}),
    )


async def open_merchant(tx: ShardTransaction, currency: str) -> None:
    """Opens the currency's default merchant account, empty. Idempotent, never undone."""
    account_id = merchant_account_id(currency)
    opened = (await tx.execute(_OPEN_MERCHANT, id=account_id, currency=currency)).first()
    if opened is not None:
        balance = str(Money.zero(currency))
        saga_id = opening_saga_id(account_id)
        append_event(tx, saga_id, AccountEvent.OPENED, account_id, 1, balance=balance)
