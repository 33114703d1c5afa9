"""Changes of an account's state, by the rules of `domain.accounts`.

A change of state locks the account FOR UPDATE. That excludes both transactions that move its money (FOR NO KEY UPDATE)
and those that admit a transfer to it (FOR KEY SHARE): whichever comes second sees what the first one did.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sqlalchemy import text

from domain.accounts import AccountState, why_not_close
from domain.errors import Refused, Unreachable
from domain.events import AccountEvent
from domain.money import Money
from shards.accounts.reads import AccountBalance, read_balance, unknown_account
from shards.connections.database_errors import DatabaseFailure
from shards.outbox.appending import append_event
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction

# A refusal is returned, not raised: it counts only if the shard owns the account, and that is checked last.
Change = Callable[[ShardTransaction, str], Awaitable[AccountBalance | Refused]]

_LOCK = text("SELECT kind, state FROM account WHERE id = :id AND kind IN ('customer', 'merchant') FOR UPDATE")
# A separate statement after the lock, so that its snapshot includes what the transactions before us committed.
_READ_OBSTACLES = text("""
    SELECT kind, currency, posted, held,
           (SELECT count(*) FROM hold WHERE account_id = account.id AND state = 'placed') AS holds,
           (SELECT count(*) FROM admission WHERE account_id = account.id AND state = 'open') AS admissions
    FROM account WHERE id = :id
""")
_SET_STATE = text("UPDATE account SET state = :state, version = version + 1 WHERE id = :id RETURNING version")


async def change_account(router: Router, account_id: str, change: Change) -> AccountBalance:
    """Runs `freeze`, `unfreeze` or `close` in one transaction on the account's shard.

    Raises the change's refusal, or `Refused` with `unknown_account` or `account_closed`. `Unreachable` with
    `account_busy` if it did not get the lock in time, for example because of a transaction in doubt: nothing was
    changed then.
    """
    try:
        answer = await router.write(lambda m: m.of_account(account_id), lambda tx: change(tx, account_id))
    except DatabaseFailure as failure:
        message = f"account {account_id} was not changed ({failure.message}): try again"
        raise Unreachable("account_busy", message) from failure
    if isinstance(answer, Refused):
        raise answer
    return answer


async def freeze(tx: ShardTransaction, account_id: str) -> AccountBalance | Refused:
    """From now on the account accepts no new hold, debit or admission. Idempotent. Undone by `unfreeze`."""
    return await _change_state(tx, account_id, AccountState.FROZEN, AccountEvent.FROZEN)


async def unfreeze(tx: ShardTransaction, account_id: str) -> AccountBalance | Refused:
    """Undoes `freeze`. Idempotent."""
    return await _change_state(tx, account_id, AccountState.OPEN, AccountEvent.UNFROZEN)


async def close(tx: ShardTransaction, account_id: str) -> AccountBalance | Refused:
    """Closes an account that is empty and to which no money is on its way. Idempotent. Never undone.

    Refuses `merchant_account`, `account_has_holds`, `account_has_open_admissions`, `account_not_empty`.
    """
    return await _change_state(tx, account_id, AccountState.CLOSED, AccountEvent.CLOSED, _why_not_close)


async def _change_state(
    tx: ShardTransaction,
    account_id: str,
    state: AccountState,
    event: AccountEvent,
    why_not: Callable[[ShardTransaction, str], Awaitable[Refused | None]] | None = None,
) -> AccountBalance | Refused:
    account = (await tx.execute(_LOCK, id=account_id)).one_or_none()
    if account is None:
        return unknown_account(account_id)
    if account.state != state:
        if account.state == AccountState.CLOSED:
            return account_closed(account_id)
        refused = await why_not(tx, account_id) if why_not is not None else None
        if refused is not None:
            return refused
        version = (await tx.execute(_SET_STATE, id=account_id, state=state)).scalar_one()
        append_event(tx, f"account/{account_id}", event, account_id, version)
    return await read_balance(tx, account_id)


async def _why_not_close(tx: ShardTransaction, account_id: str) -> Refused | None:
    account = (await tx.execute(_READ_OBSTACLES, id=account_id)).one()
    balance, held = Money(account.posted, account.currency), Money(account.held, account.currency)
    return why_not_close(account_id, account.kind == "merchant", balance, held, account.holds, account.admissions)


def account_closed(account_id: str) -> Refused:
    return Refused("account_closed", f"account {account_id} is closed, and stays so", "account_id")
