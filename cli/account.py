"""`account show`."""

from __future__ import annotations

from typing import Any

import typer

from cli.common import DataDir, run_async
from cli.connections import connected
from cli.output import output, table
from domain.identifiers import check_identifier
from shards.account_reads import AccountBalance, read_balance
from stack.settings import Settings, load_settings


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Accounts of customers and merchants.", no_args_is_help=True)
    group.command()(show)
    app.add_typer(group, name="account")


def show(account_id: str, data_dir: DataDir = None) -> None:
    """Balance, held and available money. A customer's account has the customer's id."""
    check_identifier(account_id, "account_id")
    account, shard = run_async(_read(load_settings(data_dir), account_id))
    document = _document(account, shard)
    output().result(document, table(("account", *list(document)[1:]), [tuple(document.values())]))


async def _read(settings: Settings, account_id: str) -> tuple[AccountBalance, str]:
    async with connected(settings) as to:
        shard = (await to.router.map()).of_account(account_id).shard
        async with to.cluster.shards[shard].snapshot() as connection:
            return await read_balance(connection, account_id), shard


def _document(account: AccountBalance, shard: str) -> dict[str, Any]:
    return {
        "account_id": account.account_id,
        "currency": account.balance.currency,
        "balance": account.balance.amount,
        "held": account.held.amount,
        "available": account.available.amount,
        "state": account.state,
        "shard": shard,
    }
