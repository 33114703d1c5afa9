"""Registers customers on a shard: the customer, an account of the same id, and the movement of its opening balance."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

from domain.catalogue import Customer
from domain.events import AccountEvent, CustomerEvent
from domain.identifiers import equity_account_id
from domain.shard_map import bucket_of
from shards.routing.bulk_transaction import BulkTransaction, FirstEvent

READ_KNOWN = text("SELECT id FROM customer WHERE id = ANY(CAST(:ids AS text[]))")
READ_OTHER_CONTENT = text("""
    SELECT id FROM customer
    JOIN unnest(CAST(:ids AS text[]), CAST(:hashes AS text[])) AS given (id, content_hash) USING (id)
    WHERE customer.content_hash <> given.content_hash ORDER BY id
""")
_REGISTER = text("""
    INSERT INTO customer (id, bucket, name, email, content_hash)
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:buckets AS smallint[]), CAST(:names AS text[]),
                         CAST(:emails AS text[]), CAST(:hashes AS text[]))
    ON CONFLICT DO NOTHING RETURNING id
""")
_OPEN_ACCOUNTS = text("""
    INSERT INTO account (id, kind, currency, bucket, posted, overdraft)
    SELECT id, 'customer', currency, bucket, posted, overdraft
    FROM unnest(CAST(:ids AS text[]), CAST(:currencies AS text[]), CAST(:buckets AS smallint[]),
                CAST(:balances AS bigint[]), CAST(:overdrafts AS bigint[]))
        AS opened (id, currency, bucket, posted, overdraft)
""")
_OPEN_EQUITY = text("""
    INSERT INTO account (id, kind, currency)
    SELECT id, 'equity', currency FROM unnest(CAST(:ids AS text[]), CAST(:currencies AS text[])) AS e (id, currency)
    ON CONFLICT DO NOTHING
""")
_PAY_IN = text("""
    WITH paid AS (
        SELECT * FROM unnest(CAST(:saga_ids AS text[]), CAST(:account_ids AS text[]), CAST(:equity_ids AS text[]),
                             CAST(:currencies AS text[]), CAST(:amounts AS bigint[]))
            AS p (saga_id, account_id, equity_id, currency, amount)
    ), moved AS (
        INSERT INTO movement (saga_id, kind, currency) SELECT saga_id, 'opening', currency FROM paid
        RETURNING id, saga_id
    )
    INSERT INTO entry (movement_id, n, account_id, currency, amount)
    SELECT moved.id, e.n, e.account_id, paid.currency, e.amount
    FROM moved JOIN paid USING (saga_id)
    CROSS JOIN LATERAL (VALUES (1, paid.equity_id, -paid.amount), (2, paid.account_id, paid.amount))
        AS e (n, account_id, amount)
""")


def opening_saga_id(account_id: str) -> str:
    """The saga id of the movement that pays in an opening balance."""
    return f"opening/{account_id}"


async def register_customers(tx: BulkTransaction, customers: Sequence[Customer]) -> list[str]:
    """Registers new customers, with accounts, movements and events, and returns their ids.

    Idempotent by customer id, whatever the content: the caller compares it. Never undone.
    """
    registered = await tx.execute(
        _REGISTER,
        ids=[customer.customer_id for customer in customers],
        buckets=[bucket_of(customer.customer_id) for customer in customers],
        names=[customer.name for customer in customers],
        emails=[customer.email for customer in customers],
        hashes=[customer.content_hash for customer in customers],
    )
    ids = set(registered.scalars())
    new = [customer for customer in customers if customer.customer_id in ids]
    if new:
        await _open_accounts(tx, new)
        await tx.append_events([event for customer in new for event in _events(customer)])
    return [customer.customer_id for customer in new]


async def _open_accounts(tx: BulkTransaction, customers: Sequence[Customer]) -> None:
    await tx.execute(
        _OPEN_ACCOUNTS,
        ids=[customer.customer_id for customer in customers],
        currencies=[customer.opening_balance.currency for customer in customers],
        buckets=[bucket_of(customer.customer_id) for customer in customers],
        balances=[customer.opening_balance.minor for customer in customers],
        overdrafts=[customer.overdraft.minor if customer.overdraft else 0 for customer in customers],
    )
    paid_in = [customer for customer in customers if customer.opening_balance.minor > 0]
    if not paid_in:
        return
    currencies = [customer.opening_balance.currency for customer in paid_in]
    distinct = sorted(set(currencies))
    await tx.execute(_OPEN_EQUITY, ids=[equity_account_id(currency) for currency in distinct], currencies=distinct)
    await tx.execute(
        _PAY_IN,
        saga_ids=[opening_saga_id(customer.customer_id) for customer in paid_in],
        account_ids=[customer.customer_id for customer in paid_in],
        equity_ids=[equity_account_id(currency) for currency in currencies],
        currencies=currencies,
        amounts=[customer.opening_balance.minor for customer in paid_in],
    )


def _events(customer: Customer) -> tuple[FirstEvent, FirstEvent]:
    key = customer.customer_id
    saga_id = opening_saga_id(key)
    opened = {"balance": str(customer.opening_balance)}
    if customer.overdraft is not None:
        opened["overdraft"] = str(customer.overdraft)
    return (
        FirstEvent(saga_id, CustomerEvent.REGISTERED, key, {"name": customer.name, "email": customer.email}),
        FirstEvent(saga_id, AccountEvent.OPENED, key, opened),
    )
