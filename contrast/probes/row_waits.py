"""How long another writer of an account has to wait for its row."""

from __future__ import annotations

import time
from dataclasses import dataclass

from shards.accounts import holds
from shards.connections.database_errors import LockTimedOut
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction


@dataclass(frozen=True, slots=True)
class Waited:
    """`got_it` is false if another transaction kept the row locked and `lock_timeout` ended the wait."""

    seconds: float
    got_it: bool


async def wait_for_account(router: Router, account_id: str, lock_timeout_ms: int) -> Waited:
    """Takes the lock that every debit and credit of the account takes first, and releases it. Changes nothing."""
    began = time.perf_counter()

    async def take(tx: ShardTransaction) -> None:
        nonlocal began
        await tx.connection.exec_driver_sql(f"SET LOCAL lock_timeout = {lock_timeout_ms:d}")
        began = time.perf_counter()
        await holds.lock_account(tx, account_id)

    try:
        await router.read(lambda m: m.of_account(account_id), take)
    except LockTimedOut:
        return Waited(time.perf_counter() - began, False)
    return Waited(time.perf_counter() - began, True)
