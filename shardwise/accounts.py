"""Accounts of customers and merchants."""

from __future__ import annotations

from domain.catalogue import customer_of_account
from domain.identifiers import check_identifier
from shards.accounts import states as account_states
from shards.accounts.reads import AccountBalance, read_account
from shards.accounts.states import Change, change_account
from shards.catalogue.opening import open_account
from shardwise.connections import Installation
from shardwise.reading import Consistency, Reading

__all__ = ["AccountBalance", "Accounts"]


class Accounts:
    """A customer's account has the customer's id. Every method returns the account as it is afterwards.

    Raises `NotFound` with `unknown_account`, `Refused` for what the account's state does not allow, `InvalidInput`, and
    `Unreachable` if its shard is down. `Unreachable` with `account_busy`: the account was locked for too long, and
    nothing was changed.
    """

    def __init__(self, installation: Installation, reading: Reading) -> None:
        self._installation = installation
        self._reading = reading

    async def open(
        self,
        account_id: str,
        currency: str,
        name: str | None = None,
        email: str | None = None,
        balance: str = "0",
        overdraft: str = "0",
    ) -> AccountBalance:
        """Registers a customer with an account of the same id. `name` defaults to the id. Amounts are decimals.

        Idempotent by id and content. Never undone; `close` ends it. A crash leaves all of it or nothing. `Refused` with
        `id_conflict` for other content, `account_closed`, or `currency_withdrawn`.
        """
        customer = customer_of_account(account_id, currency, balance, overdraft, name, email)
        return await self._told(await open_account(self._installation.without_timeouts.router, customer))

    async def show(self, account_id: str, consistency: Consistency = None) -> AccountBalance:
        """As it is at this moment, or at another level."""
        check_identifier(account_id, "account_id")
        return await read_account(self._reading.strong(consistency), account_id)

    async def freeze(self, account_id: str) -> AccountBalance:
        """Allows nothing new: no hold, no debit, no admission. What was promised is still paid and received.
        Idempotent. Undone by `unfreeze`."""
        return await self._change(account_id, account_states.freeze)

    async def unfreeze(self, account_id: str) -> AccountBalance:
        """Undoes `freeze`. Idempotent."""
        return await self._change(account_id, account_states.unfreeze)

    async def close(self, account_id: str) -> AccountBalance:
        """Ends an account that is empty and to which nothing is on its way. Idempotent. Never undone.

        `Refused` with `merchant_account`, `account_has_holds`, `account_has_open_admissions` or `account_not_empty`.
        """
        return await self._change(account_id, account_states.close)

    async def _change(self, account_id: str, change: Change) -> AccountBalance:
        check_identifier(account_id, "account_id")
        return await self._told(await change_account(self._installation.with_timeouts.router, account_id, change))

    async def _told(self, account: AccountBalance) -> AccountBalance:
        await self._reading.wrote(lambda m: [m.of_account(account.account_id)])
        return account
