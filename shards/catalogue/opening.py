"""Opens one account together with its customer."""

from __future__ import annotations

from domain.accounts import AccountState
from domain.catalogue import Customer
from domain.errors import Refused
from shards.accounts.reads import AccountBalance, read_account
from shards.accounts.states import account_closed
from shards.catalogue.imports import import_customers
from shards.routing.router import Router


async def open_account(router: Router, customer: Customer) -> AccountBalance:
    """Registers the customer with its account, like a line of `import customers`.

    Idempotent by id and content: a repeat returns the account as it is now. Never undone. A crash leaves all of it or
    nothing. `Refused` with `id_conflict` for other content, with `account_closed` if the account was closed, with
    `currency_withdrawn` for a new account in such a currency. It waits while an import runs, so it needs a cluster
    without time limits (`long_running`).
    """
    account_id = customer.customer_id
    conflict: Refused | None = None
    try:
        await import_customers(router, [customer])
    except Refused as refused:
        if refused.code != "id_conflict":
            raise Refused(refused.code, refused.message, "account_id") from None
        message = f"account {account_id} is there already with other content, nothing was changed"
        conflict = Refused("id_conflict", message, "account_id")
    account = await read_account(router, account_id)
    if account.state == AccountState.CLOSED:
        raise account_closed(account_id)
    if conflict is not None:
        raise conflict
    return account
