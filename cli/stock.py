"""`stock show | list | receive`."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer
from pydantic import TypeAdapter

from cli.common import DataDir, run_async
from cli.connections import connected
from cli.output import listed, output, table
from cli.paging import LIMIT, After, Limit, next_token, page_after, with_next
from cli.usage import TakesNumbers
from domain.catalogue import whole_number
from domain.identifiers import check_identifier
from domain.page_tokens import KeyId, PageToken
from shards.queries.pages import Page, PageAfter
from shards.queries.stock import ListedStock, list_stock
from shards.routing import ShardTransaction
from shards.stock import StockLevel, read_level
from shards.stock import receive as receive_goods
from stack.settings import Settings, load_settings

Sku = Annotated[str, typer.Argument(metavar="SKU", show_default=False)]
TOKEN: PageToken[str] = PageToken("stock", TypeAdapter(KeyId))


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Stock of products.", no_args_is_help=True)
    group.command()(show)
    group.command("list")(list_levels)
    group.command(cls=TakesNumbers)(receive)
    app.add_typer(group, name="stock")


def show(sku: Sku, data_dir: DataDir = None) -> None:
    """How much is on hand, reserved for orders, and available."""
    check_identifier(sku, "sku")
    level, shard = run_async(_read(load_settings(data_dir), sku))
    _print(level, shard, {})


def list_levels(limit: Limit = LIMIT, after: After = None, data_dir: DataDir = None) -> None:
    """List the stock of all products by SKU, from the read model, which follows the shards with a delay."""
    found = run_async(_list(load_settings(data_dir), page_after(TOKEN, limit, after)))
    following = next_token(TOKEN, found.next)
    levels = [
        {
            "sku": level.sku,
            "product_name": level.product_name,
            "on_hand": level.on_hand,
            "reserved": level.reserved,
            "available": level.available,
            "shard": level.shard,
        }
        for level in found.rows
    ]
    columns = ("sku", "product", "on hand", "reserved", "available", "shard")
    rows = table(columns, [tuple(str(value) for value in level.values()) for level in levels])
    human = with_next(listed(rows, "no products"), following)
    output().result({"stock": levels, "next": following}, human)


def receive(
    sku: Sku,
    quantity: Annotated[str, typer.Argument(metavar="QTY")],
    receipt_id: Annotated[
        str | None, typer.Option("--id", help="Names this receipt, so that it counts once however often it is sent.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Add goods that came in."""
    check_identifier(sku, "sku")
    received = whole_number(quantity, "quantity", at_least=1)
    chosen = uuid.uuid4().hex if receipt_id is None else check_identifier(receipt_id, "id")
    settings = load_settings(data_dir)
    if receipt_id is None:
        # Told before it is used: after a lost answer, only a repeat under the same id is safe.
        output().progress(f"receipt {chosen}")
    level, shard = run_async(_receive(settings, chosen, sku, received))
    _print(level, shard, {"receipt_id": chosen})


async def _read(settings: Settings, sku: str) -> tuple[StockLevel, str]:
    async with connected(settings) as to:

        async def read(tx: ShardTransaction) -> tuple[StockLevel, str]:
            return await read_level(tx, sku), tx.route.shard

        return await to.router.read(lambda m: m.of_sku(sku), read)


async def _list(settings: Settings, page: PageAfter[str]) -> Page[ListedStock, str]:
    async with connected(settings) as to:
        return await to.read_model.ask(lambda connection: list_stock(connection, page))


async def _receive(settings: Settings, receipt_id: str, sku: str, quantity: int) -> tuple[StockLevel, str]:
    async with connected(settings) as to:

        async def write(tx: ShardTransaction) -> tuple[StockLevel, str]:
            return await receive_goods(tx, receipt_id, sku, quantity), tx.route.shard

        return await to.router.write(lambda m: m.of_sku(sku), write)


def _print(level: StockLevel, shard: str, only_json: dict[str, str]) -> None:
    document = {
        "sku": level.sku,
        "on_hand": level.on_hand,
        "reserved": level.reserved,
        "available": level.available,
        "shard": shard,
    }
    shown = [name.replace("_", " ") for name in document]
    output().result(document | only_json, table(shown, [tuple(str(value) for value in document.values())]))
