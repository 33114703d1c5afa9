"""`account open | show | freeze | unfreeze | close | statement`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter

from cli.common import DataDir, run_async
from cli.connections import connected
from cli.output import listed, output, table
from cli.paging import LIMIT, After, Limit, next_token, page_after, with_next
from domain.catalogue import customer_of_account
from domain.identifiers import check_identifier
from domain.page_tokens import KeyNumber, PageToken
from domain.timestamps import short_timestamp, timestamp
from shards import account_states
from shards.account_reads import AccountBalance, read_account
from shards.account_statement import StatementLine
from shards.account_states import Change, change_account, open_account
from shards.queries.pages import PageAfter
from shards.queries.statement import StatementPage, read_statement_page
from shards.routing import Router
from stack.settings import Settings, load_settings

AccountId = Annotated[str, typer.Argument(metavar="ID", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Accounts of customers and merchants.", no_args_is_help=True)
    group.command("open")(open_one)
    for command in (show, freeze, unfreeze, close, statement):
        group.command()(command)
    app.add_typer(group, name="account")


def open_one(
    account_id: AccountId,
    currency: Annotated[str, typer.Option(help="ISO 4217.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="The customer's.  [default: the id]")] = None,
    email: Annotated[str | None, typer.Option(help="The customer's.")] = None,
    balance: Annotated[str, typer.Option(metavar="AMOUNT", help="What is paid in.")] = "0",
    overdraft: Annotated[str, typer.Option(metavar="AMOUNT", help="How far below zero it may go.")] = "0",
    data_dir: DataDir = None,
) -> None:
    """Register a customer with an account of the same id. Safe to repeat.

    Exit code 1 where the id is there already with other content, or its account is closed.
    """
    customer = customer_of_account(account_id, currency, balance, overdraft, name, email)
    settings = load_settings(data_dir)
    _answer(settings, account_id, lambda router: open_account(router, customer), long_running=True)


def show(account_id: AccountId, data_dir: DataDir = None) -> None:
    """Balance, held and available money. A customer's account has the customer's id."""
    check_identifier(account_id, "account_id")
    _answer(load_settings(data_dir), account_id, lambda router: read_account(router, account_id))


def freeze(account_id: AccountId, data_dir: DataDir = None) -> None:
    """Bar an account from anything new. What was promised before is still paid and received. Safe to repeat."""
    _change(account_id, account_states.freeze, data_dir)


def unfreeze(account_id: AccountId, data_dir: DataDir = None) -> None:
    """Undo `account freeze`. Safe to repeat."""
    _change(account_id, account_states.unfreeze, data_dir)


def close(account_id: AccountId, data_dir: DataDir = None) -> None:
    """Close an account for ever. Safe to repeat.

    Exit code 1 where it is not empty, something is held on it or on its way to it, or it is a merchant's.
    """
    _change(account_id, account_states.close, data_dir)


def statement(account_id: AccountId, limit: Limit = LIMIT, after: After = None, data_dir: DataDir = None) -> None:
    """Show the newest movements of an account, each with the balance that it left behind.

    From the read model, which follows the shards with a delay: `account show` tells the balance as it is now.

    kind: opening = paid in when the account was opened; capture = out, after it was held, for an order or by a saga;
    debit = out, by two-phase commit or a batch; credit = in, from any of these; transfer = both accounts on one shard.

    other side: who the money went to or came from. merchant.USD is the merchant's account, which orders in USD pay, and
    has a statement of its own. equity/USD is the books' other side of what was paid in, and no account to ask for.
    """
    check_identifier(account_id, "account_id")
    token: PageToken[int] = PageToken(f"statement/{account_id}", TypeAdapter(KeyNumber))
    found = run_async(_read_statement(load_settings(data_dir), account_id, page_after(token, limit, after)))
    lines, following = [_line(line) for line in found.lines.rows], next_token(token, found.lines.next)
    document = {
        "account_id": found.account_id,
        "currency": found.balance.currency,
        "balance": found.balance.amount,
        "movements": lines,
        "next": following,
    }
    title = f"account {found.account_id}: {found.balance}"
    columns = ("at", "kind", "saga", "amount", "balance after", "other side")
    rows = table(
        columns,
        [_row(line) for line in found.lines.rows],
        title,
        whole=("at", "other side"),
        words=("kind", "saga", "amount", "balance after"),
    )
    output().result(document, with_next(listed(rows, "no movements"), following))


def _change(account_id: str, change: Change, data_dir: DataDir) -> None:
    check_identifier(account_id, "account_id")
    _answer(load_settings(data_dir), account_id, lambda router: change_account(router, account_id, change))


def _answer(
    settings: Settings, account_id: str, work: Callable[[Router], Awaitable[AccountBalance]], long_running: bool = False
) -> None:
    """Every command but `statement` ends with the account as it stands then."""

    async def answer() -> tuple[AccountBalance, str]:
        async with connected(settings, long_running) as to:
            account = await work(to.router)
            return account, (await to.router.map()).of_account(account_id).shard

    _print(*run_async(answer()))


async def _read_statement(settings: Settings, account_id: str, page: PageAfter[int]) -> StatementPage:
    async with connected(settings) as to:
        return await to.read_model.ask(lambda connection: read_statement_page(connection, account_id, page))


def _print(account: AccountBalance, shard: str) -> None:
    document: dict[str, Any] = {
        "account_id": account.account_id,
        "currency": account.balance.currency,
        "balance": account.balance.amount,
        "held": account.held.amount,
        "overdraft": account.overdraft.amount,
        "available": account.available.amount,
        "state": account.state,
        "shard": shard,
    }
    output().result(document, table(("account", *list(document)[1:]), [tuple(document.values())]))


def _line(line: StatementLine) -> dict[str, str]:
    return {
        "at": timestamp(line.at),
        "kind": line.kind,
        "saga_id": line.saga_id,
        "amount": line.amount.amount,
        "balance_after": line.balance_after.amount,
        "other_side": line.other_side,
    }


def _row(line: StatementLine) -> tuple[str, ...]:
    return (
        short_timestamp(line.at),
        line.kind,
        # Words, to wrap between: `order ID`, `transfer SOURCE ID`.
        line.saga_id.replace("/", " "),
        line.amount.amount,
        line.balance_after.amount,
        line.other_side,
    )
