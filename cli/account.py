"""`account open | show | freeze | unfreeze | close | statement`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.terminal.application import call_app, read_app
from cli.terminal.options import DataDir, Following, SessionFile, Strong
from cli.terminal.output import output, table, table_or
from cli.terminal.paging import After, Limit, with_next
from domain.timestamps import short_timestamp
from shardwise.accounts import AccountBalance
from shardwise.queries import LIMIT, StatementLine

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
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """Register a customer with an account of the same id. Safe to repeat.

    Exit code 1 if the id is there already with other content, or its account is closed.
    """
    _print(
        call_app(
            data_dir, lambda app: app.accounts.open(account_id, currency, name, email, balance, overdraft), session
        )
    )


def show(
    account_id: AccountId, consistency: Strong = None, session: SessionFile = None, data_dir: DataDir = None
) -> None:
    """Balance, held and available money. A customer's account has the customer's id."""
    _print(read_app(data_dir, lambda app: app.accounts.show(account_id, consistency), session, consistency))


def freeze(account_id: AccountId, session: SessionFile = None, data_dir: DataDir = None) -> None:
    """Bar an account from anything new. What was promised before is still paid and received. Safe to repeat."""
    _print(call_app(data_dir, lambda app: app.accounts.freeze(account_id), session))


def unfreeze(account_id: AccountId, session: SessionFile = None, data_dir: DataDir = None) -> None:
    """Undo `account freeze`. Safe to repeat."""
    _print(call_app(data_dir, lambda app: app.accounts.unfreeze(account_id), session))


def close(account_id: AccountId, session: SessionFile = None, data_dir: DataDir = None) -> None:
    """Close an account for ever. Safe to repeat.

    Exit code 1 if it is not empty, something is held on it or on its way to it, or it is a merchant's.
    """
    _print(call_app(data_dir, lambda app: app.accounts.close(account_id), session))


def statement(
    account_id: AccountId,
    limit: Limit = LIMIT,
    after: After = None,
    consistency: Following = None,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show the newest movements of an account, each with the balance that it left behind.

    From the read model, which follows the shards with a delay: `account show` shows the balance as it is now.

    kind: opening = paid in when the account was opened; capture = out, after it was held, for an order or by a saga;
    debit = out, by two-phase commit or a batch; credit = in, from any of these; transfer = both accounts on one shard.

    other side: who the money went to or came from. merchant.USD is the merchant's account, which orders in USD pay, and
    has a statement of its own. equity/USD is the books' other side of what was paid in; it cannot be queried.
    """
    found = read_app(
        data_dir, lambda app: app.queries.statement(account_id, limit, after, consistency), session, consistency
    )
    title = f"account {found.account_id}: {found.balance}"
    columns = ("at", "kind", "saga", "amount", "balance after", "other side")
    rows = table(
        columns,
        [_row(line) for line in found.movements],
        title,
        whole=("at", "other side"),
        words=("kind", "saga", "amount", "balance after"),
    )
    output().result(found, with_next(table_or(rows, "no movements"), found.next))


def _print(account: AccountBalance) -> None:
    row = (
        account.account_id,
        account.currency,
        account.balance.amount,
        account.held.amount,
        account.overdraft.amount,
        account.available.amount,
        account.state,
        account.shard,
    )
    columns = ("account", "currency", "balance", "held", "overdraft", "available", "state", "shard")
    output().result(account, table(columns, [row]))


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
