"""Every kind of damage that `verify` claims to find: how to do it to an order, and the message it must report."""

from __future__ import annotations

from dataclasses import dataclass

from shards.audit.findings import Check
from shards.audit.workflows import Work

CLAIMED, PENDING, CAPTURED, CONFIRMED, ABORTING, REJECTED, NOWHERE = (
    "claimed",
    "pending",
    "captured",
    "confirmed",
    "aborting",
    "rejected",
    "nowhere",
)
CUSTOMER, LOOKUP, NOT_LOOKUP, MERCHANT, A, Z, ELSEWHERE = (
    "customer",
    "lookup",
    "not lookup",
    "merchant",
    "a",
    "z",
    "elsewhere",
)


@dataclass(frozen=True)
class Damage:
    """An order comes to `state` in the product's own way; then `sql` runs on the shard of `at`, constraints off.

    The order is over 2 of {a} and 1 of {z} at 10.00 USD. `work` is its workflow's state, `status` the last one it set.
    `NOT_LOOKUP` is a shard that has not its lookup row, `ELSEWHERE` neither the customer's nor the merchant's.
    """

    said: str
    state: str
    at: str
    sql: str = ""
    work: Work = Work.CLOSED
    status: str | None = None


DAMAGES: dict[Check, tuple[Damage, ...]] = {
    Check.LEDGER: (
        Damage(
            "account {customer} has 70.01 posted, but its entries sum to 70.00",
            CONFIRMED,
            CUSTOMER,
            "UPDATE account SET posted = posted + 1 WHERE id = '{customer}'",
        ),
        Damage(
            "(capture of {saga}) has 2 entries that sum to -0.01, not to zero",
            CONFIRMED,
            CUSTOMER,
            "UPDATE entry SET amount = amount - 1 WHERE account_id = '{customer}' AND amount < 0",
        ),
        Damage(
            "(capture of {saga}) has 0 entries that sum to 0.00",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM entry USING movement AS m WHERE m.id = movement_id AND m.saga_id = '{saga}'",
        ),
        Damage(
            "is on account {customer}, which does not exist here",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM account WHERE id = '{customer}'",
        ),
        Damage(
            "customer {customer} has no account", CONFIRMED, CUSTOMER, "DELETE FROM account WHERE id = '{customer}'"
        ),
        Damage("belongs to no movement", CONFIRMED, CUSTOMER, "DELETE FROM movement WHERE saga_id = '{saga}'"),
        Damage(
            "is in USD, its movement in USD, its account {customer} in EUR",
            CONFIRMED,
            CUSTOMER,
            "UPDATE account SET currency = 'EUR' WHERE id = '{customer}'",
        ),
        Damage(
            "account {customer} is overdrawn: 70.00 posted, 70.01 held, 0.00 overdraft allowed",
            CONFIRMED,
            CUSTOMER,
            "ALTER TABLE account DROP CONSTRAINT IF EXISTS account_available_check;"
            "UPDATE account SET held = 7001 WHERE id = '{customer}'",
        ),
        Damage(
            "account {customer} belongs to no customer",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM customer WHERE id = '{customer}'",
        ),
        Damage(
            "is in USD, its movement in EUR, its account {customer} in USD",
            CONFIRMED,
            CUSTOMER,
            "UPDATE movement SET currency = 'EUR' WHERE saga_id = '{saga}'",
        ),
    ),
    Check.HOLDS: (
        Damage(
            "account {customer} has 30.01 held, but its placed holds sum to 30.00",
            PENDING,
            CUSTOMER,
            "UPDATE account SET held = held + 1 WHERE id = '{customer}'",
        ),
        Damage(
            "the hold of {saga} is placed, but its order is confirmed",
            CONFIRMED,
            CUSTOMER,
            "UPDATE hold SET state = 'placed' WHERE saga_id = '{saga}'",
        ),
        Damage(
            "the hold of {saga} is placed, but its order is rejected",
            REJECTED,
            CUSTOMER,
            "UPDATE hold SET state = 'placed' WHERE saga_id = '{saga}'",
        ),
        Damage(
            "the hold of {saga} is captured, but its order is pending",
            PENDING,
            CUSTOMER,
            "UPDATE hold SET state = 'captured' WHERE saga_id = '{saga}'",
        ),
        Damage(
            "the hold of {saga} is captured, but its order is not here",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM orders WHERE id = '{order}'",
        ),
        Damage(
            "the hold of {saga} is 30.01 on account {customer}, its order 30.00 of customer {customer}",
            CONFIRMED,
            CUSTOMER,
            "UPDATE hold SET amount = amount + 1 WHERE saga_id = '{saga}'",
        ),
        Damage(
            "the hold of {saga} over 30.00 is captured, but 60.00 left account {customer}",
            CONFIRMED,
            CUSTOMER,
            "UPDATE entry SET amount = amount * 2 WHERE account_id = '{customer}' AND amount < 0",
        ),
        Damage(
            "{saga} is confirmed with a total of 30.00, but its payment was never held",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM hold WHERE saga_id = '{saga}'",
        ),
        Damage(
            "captured money for {saga} without a captured hold",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM hold WHERE saga_id = '{saga}'",
        ),
        Damage(
            "{saga} is pending with a total of 30.00, but its payment was never held",
            PENDING,
            CUSTOMER,
            "DELETE FROM hold WHERE saga_id = '{saga}'",
        ),
        Damage(
            "the hold of {saga} is on account {customer}, which does not exist here",
            PENDING,
            CUSTOMER,
            "DELETE FROM account WHERE id = '{customer}'",
        ),
        Damage(
            "the hold of {saga} is released, but its order is confirmed",
            CONFIRMED,
            CUSTOMER,
            "UPDATE hold SET state = 'released' WHERE saga_id = '{saga}'",
        ),
        Damage(
            "the hold of {saga} is 30.00 on account mallory, its order 30.00 of customer {customer}",
            CONFIRMED,
            CUSTOMER,
            "UPDATE hold SET account_id = 'mallory' WHERE saga_id = '{saga}'",
        ),
    ),
    Check.CLEARING: (
        Damage("{saga} sent 30.00 USD from shard-2, it never arrived and nobody works on it", CAPTURED, CUSTOMER),
        Damage(
            "{saga} sent 30.00 USD from shard-2, it never arrived and nobody works on it",
            CAPTURED,
            CUSTOMER,
            work=Work.ABSENT,
        ),
        Damage(
            "but no shard sent it",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM clearing_leg WHERE saga_id = '{saga}' AND role = 'first'",
        ),
        Damage(
            "{saga} is confirmed over 30.00 USD, but 0.00 was captured",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM clearing_leg WHERE saga_id = '{saga}' AND role = 'first'",
        ),
        Damage(
            "(capture of {saga}) passed through clearing without a leg",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM clearing_leg WHERE saga_id = '{saga}' AND role = 'first'",
        ),
        Damage(
            "{saga} sent 30.00 USD from shard-2, but 30.01 USD arrived",
            CONFIRMED,
            MERCHANT,
            "UPDATE clearing_leg SET amount = amount - 1 WHERE saga_id = '{saga}' AND role = 'second'",
        ),
        Damage(
            "the second leg of {saga} is -30.01 USD, but its movement",
            CONFIRMED,
            MERCHANT,
            "UPDATE clearing_leg SET amount = amount - 1 WHERE saga_id = '{saga}' AND role = 'second'",
        ),
        Damage(
            "{saga} sent 30.00 USD from shard-2, but 30.00 EUR arrived",
            CONFIRMED,
            MERCHANT,
            "UPDATE clearing_leg SET currency = 'EUR' WHERE saga_id = '{saga}' AND role = 'second'",
        ),
        Damage(
            "clearing in EUR holds 0.00, but its legs sum to -",
            CONFIRMED,
            MERCHANT,
            "UPDATE clearing_leg SET currency = 'EUR' WHERE saga_id = '{saga}' AND role = 'second'",
        ),
        Damage(
            "{saga} has more than one first leg: on ",
            CONFIRMED,
            ELSEWHERE,
            "INSERT INTO clearing_leg (saga_id, role, currency, amount, peer, movement_id)"
            " VALUES ('{saga}', 'first', 'USD', 3000, 'x', 1000001)",
        ),
        Damage(
            "30.00 USD was captured for {saga}, but its order is rejected",
            REJECTED,
            CUSTOMER,
            "INSERT INTO clearing_leg (saga_id, role, currency, amount, peer, movement_id)"
            " VALUES ('{saga}', 'first', 'USD', 3000, 'x', 1000002)",
        ),
        Damage(
            "30.00 USD was captured for {saga}, but its order is nowhere",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM orders WHERE id = '{order}'",
        ),
        Damage(
            "{saga} has more than one second leg: on ",
            CONFIRMED,
            ELSEWHERE,
            "INSERT INTO clearing_leg (saga_id, role, currency, amount, peer, movement_id)"
            " VALUES ('{saga}', 'second', 'USD', -3000, 'x', 1000003)",
        ),
        Damage(
            "moved 30.00 (opening of {saga})",
            CONFIRMED,
            CUSTOMER,
            "UPDATE movement SET kind = 'opening' WHERE saga_id = '{saga}' AND kind = 'capture'",
        ),
        Damage(
            "moved 30.00 (capture of ghost/{order})",
            CONFIRMED,
            CUSTOMER,
            "UPDATE movement SET saga_id = 'ghost/{order}' WHERE saga_id = '{saga}' AND kind = 'capture'",
        ),
    ),
    Check.STOCK: (
        Damage(
            "{a} has 1 reserved, but its open reservations sum to 0",
            CONFIRMED,
            A,
            "UPDATE stock SET reserved = reserved + 1 WHERE sku = '{a}'",
        ),
        Damage(
            "{a} has 9 on hand, but 10 came in and 2 left",
            CONFIRMED,
            A,
            "UPDATE stock SET on_hand = on_hand + 1 WHERE sku = '{a}'",
        ),
        Damage(
            "{a} has 2 reserved of 1 on hand",
            PENDING,
            A,
            "ALTER TABLE stock DROP CONSTRAINT IF EXISTS stock_available_check;"
            "UPDATE stock SET on_hand = 1 WHERE sku = '{a}'",
        ),
        Damage("2 of {a} are reserved, but order {order} is confirmed, and nobody works on it", CAPTURED, CUSTOMER),
        Damage(
            "2 of {a} are released, but order {order} is confirmed",
            CONFIRMED,
            A,
            "UPDATE reservation SET state = 'released' WHERE saga_id = '{saga}'",
        ),
        Damage(
            "2 of {a} are consumed, but order {order} is rejected",
            REJECTED,
            A,
            "UPDATE reservation SET state = 'consumed' WHERE saga_id = '{saga}'",
        ),
        Damage(
            "2 of {a} are reserved, but order {order} is rejected, and nobody works on it",
            REJECTED,
            A,
            "UPDATE reservation SET state = 'reserved' WHERE saga_id = '{saga}'",
        ),
        Damage(
            "2 of {a} are consumed, but order {order} is pending",
            PENDING,
            A,
            "UPDATE reservation SET state = 'consumed' WHERE saga_id = '{saga}'",
            work=Work.OPEN,
        ),
        Damage(
            "3 of {a} are consumed for order {order}, which asked for 2",
            CONFIRMED,
            A,
            "UPDATE reservation SET quantity = 3 WHERE saga_id = '{saga}'",
        ),
        Damage(
            "4 of m are reserved for order {order}, which asked for 0",
            PENDING,
            CUSTOMER,
            "INSERT INTO reservation (saga_id, sku, quantity, state) VALUES ('{saga}', 'm', 4, 'reserved')",
            work=Work.OPEN,
        ),
        Damage(
            "order {order} is confirmed, but its 1 of {z} were never reserved",
            CONFIRMED,
            Z,
            "DELETE FROM reservation WHERE saga_id = '{saga}'",
        ),
        Damage(
            "{a} is consumed for order {order}, which does not exist",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM orders WHERE id = '{order}'",
        ),
        Damage(
            "{a} is reserved for ghost/{order}, which is no order",
            CONFIRMED,
            A,
            "INSERT INTO reservation (saga_id, sku, quantity, state) VALUES ('ghost/{order}', '{a}', 1, 'reserved')",
        ),
        Damage(
            "{z} is reserved for {saga}, but its stock is not here",
            CONFIRMED,
            Z,
            "DELETE FROM stock WHERE sku = '{z}'",
        ),
        Damage("product {z} has no stock row", CONFIRMED, Z, "DELETE FROM stock WHERE sku = '{z}'"),
        Damage("10 of {z} came in by receipt ", CONFIRMED, Z, "DELETE FROM stock WHERE sku = '{z}'"),
        Damage("there is stock of {z}, but no such product", CONFIRMED, Z, "DELETE FROM product WHERE sku = '{z}'"),
        Damage(
            "2 of {a} are released, but order {order} is pending",
            PENDING,
            A,
            "UPDATE reservation SET state = 'released' WHERE saga_id = '{saga}'",
            work=Work.OPEN,
        ),
        Damage(
            "{a} has 2 reserved of -1 on hand",
            PENDING,
            A,
            "ALTER TABLE stock DROP CONSTRAINT IF EXISTS stock_available_check;"
            "ALTER TABLE stock DROP CONSTRAINT IF EXISTS stock_on_hand_check;"
            "UPDATE stock SET on_hand = -1 WHERE sku = '{a}'",
        ),
    ),
    Check.ORDERS: (
        Damage(
            "order {order} has a total of 30.01, but its 2 lines sum to 30.00",
            CONFIRMED,
            CUSTOMER,
            "UPDATE orders SET total = total + 1 WHERE id = '{order}'",
        ),
        Damage(
            "order {order} has a total of 30.00, but its 0 lines sum to 0.00",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM order_line WHERE order_id = '{order}'",
        ),
        Damage(
            "belongs to order {order}, which does not exist here",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM orders WHERE id = '{order}'",
        ),
        Damage(
            "order {order} is of customer {customer}, who does not exist here",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM customer WHERE id = '{customer}'",
        ),
        Damage(
            "order {order} is confirmed, but no shipment was requested",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM shipment WHERE order_id = '{order}'",
        ),
        Damage(
            "a shipment was requested for order {order}, which is rejected",
            REJECTED,
            CUSTOMER,
            "INSERT INTO shipment (order_id) VALUES ('{order}')",
        ),
        Damage(
            "order {order} is known, but its id was never claimed: it has no lookup row",
            CONFIRMED,
            LOOKUP,
            "DELETE FROM order_lookup WHERE order_id = '{order}'",
        ),
        Damage(
            "order {order} is of customer {customer}, its lookup row says mallory",
            CONFIRMED,
            LOOKUP,
            "UPDATE order_lookup SET customer_id = 'mallory' WHERE order_id = '{order}'",
        ),
        Damage(
            "order {order} has another content hash than its lookup row",
            CONFIRMED,
            LOOKUP,
            "UPDATE order_lookup SET content_hash = 'other' WHERE order_id = '{order}'",
        ),
        Damage(
            "order {order} is confirmed, but its lookup row says it was refused: unknown_sku",
            CONFIRMED,
            LOOKUP,
            "UPDATE order_lookup SET refused_reason = 'unknown_sku', refused_detail = 'x' WHERE order_id = '{order}'",
        ),
        Damage(
            "order {order} has 2 rows: on ",
            CONFIRMED,
            ELSEWHERE,
            "INSERT INTO orders (id, customer_id, bucket, currency, total, content_hash, state, decided_at)"
            " VALUES ('{order}', '{customer}', 1, 'USD', 3000, 'x', 'confirmed', now())",
        ),
        Damage("order {order} is pending, and nobody works on it", PENDING, CUSTOMER),
        Damage("order {order} is pending, and nobody works on it", PENDING, CUSTOMER, work=Work.ABSENT),
        Damage("order {order} is aborting, and nobody works on it", ABORTING, CUSTOMER),
        Damage(
            "order id {order} is claimed, but there is neither an order nor a reason, and nobody works on it",
            CLAIMED,
            LOOKUP,
        ),
        Damage("the workflow of order {order} is closed, but no shard knows the order", NOWHERE, CUSTOMER),
        Damage(
            "the workflow of order {order} ended as confirmed, but its row is rejected",
            REJECTED,
            CUSTOMER,
            status="confirmed",
        ),
        Damage(
            "order {order} has 2 lookup rows: on ",
            CONFIRMED,
            NOT_LOOKUP,
            "INSERT INTO order_lookup (order_id, bucket, customer_id, content_hash, request, stock_plan)"
            " VALUES ('{order}', 1, '{customer}', 'x', '{{}}', '[]')",
        ),
        Damage(
            "a shipment was requested for order {order}, which is not here",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM orders WHERE id = '{order}'",
        ),
        Damage(
            "the workflow of order {order} ended as confirmed, but its row is nowhere",
            CLAIMED,
            CUSTOMER,
            status="confirmed",
        ),
    ),
    Check.ORPHANS: (
        Damage(
            "step open_order of {saga} was done and never undone, and nobody works on the saga",
            REJECTED,
            CUSTOMER,
            "DELETE FROM barrier WHERE saga_id = '{saga}' AND op = 'undo'",
        ),
        Damage(
            "step reserve_stock (SKUs from m on) of {saga} was done and never undone, and nobody works on the saga",
            CLAIMED,
            CUSTOMER,
            "INSERT INTO barrier VALUES ('{saga}', 'reserve_stock/m', 'do', 'sku_range', 'm', 'null')",
        ),
        Damage(
            "step open_order of {saga} was undone, but the order is confirmed",
            CONFIRMED,
            CUSTOMER,
            "INSERT INTO barrier SELECT saga_id, step, 'undo', keyspace, slot FROM barrier WHERE saga_id = '{saga}'"
            " AND step = 'open_order'",
        ),
        Damage(
            "{saga} was undone, but its order is confirmed",
            CONFIRMED,
            CUSTOMER,
            "INSERT INTO barrier SELECT saga_id, step, 'undo', keyspace, slot FROM barrier WHERE saga_id = '{saga}'"
            " AND step = 'open_order'",
        ),
        Damage(
            "{saga} was undone, but its hold over 30.00 on account {customer} is placed",
            REJECTED,
            CUSTOMER,
            "UPDATE hold SET state = 'placed' WHERE saga_id = '{saga}'",
        ),
        Damage(
            "the stock step of {saga} was undone, but 2 of {a} is still reserved",
            REJECTED,
            A,
            "UPDATE reservation SET state = 'reserved' WHERE saga_id = '{saga}'",
        ),
        Damage(
            "the stock step of {saga} was consumed, but 2 of {a} is still reserved",
            CONFIRMED,
            A,
            "UPDATE reservation SET state = 'reserved' WHERE saga_id = '{saga}'",
        ),
        Damage(
            "step credit_merchant of {saga} ran, but the order is rejected, not confirmed",
            REJECTED,
            MERCHANT,
            "INSERT INTO barrier VALUES ('{saga}', 'credit_merchant', 'do', 'pin', '{merchant}', 'null')",
        ),
        Damage(
            "step consume_stock (SKUs from m on) of {saga} ran, but the order is pending, not confirmed",
            PENDING,
            CUSTOMER,
            "INSERT INTO barrier VALUES ('{saga}', 'consume_stock/m', 'do', 'sku_range', 'm', 'null')",
            work=Work.OPEN,
        ),
        Damage(
            "order {order} (confirmed) was opened without a barrier",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM barrier WHERE saga_id = '{saga}' AND step = 'open_order'",
        ),
        Damage(
            "30.00 of account {customer} was held for {saga} without a barrier",
            CONFIRMED,
            CUSTOMER,
            "DELETE FROM barrier WHERE saga_id = '{saga}' AND step = 'open_order'",
        ),
        Damage(
            "2 of {a} was reserved for {saga} without a barrier",
            CONFIRMED,
            A,
            "DELETE FROM barrier WHERE saga_id = '{saga}' AND step LIKE 'reserve_stock/%'",
        ),
        Damage(
            "2 of {a} was consumed for {saga} without a barrier",
            CONFIRMED,
            A,
            "DELETE FROM barrier WHERE saga_id = '{saga}' AND step LIKE 'consume_stock/%'",
        ),
        Damage(
            "a merchant was credited with the second leg of {saga} (-30.00) without a barrier",
            CONFIRMED,
            MERCHANT,
            "DELETE FROM barrier WHERE saga_id = '{saga}' AND step = 'credit_merchant'",
        ),
        Damage(
            "step consume_stock (SKUs from m on) of {saga} ran, but the order is nowhere, not confirmed",
            CLAIMED,
            CUSTOMER,
            "INSERT INTO barrier VALUES ('{saga}', 'consume_stock/m', 'do', 'sku_range', 'm', 'null')",
        ),
    ),
    Check.COMMENTS: (
        Damage(
            "comment waits-{order} on {a} was taken at ",
            CONFIRMED,
            CUSTOMER,
            "INSERT INTO comment_handoff (id, sku, customer_id, body, at, content_hash, taken_at)"
            " VALUES ('waits-{order}', '{a}', '{customer}', 'fine', now(), 'x', now() - interval '6 minutes')",
        ),
    ),
    Check.PLACEMENT: (
        Damage(
            "customer {customer} says it is in bucket '4095'",
            CONFIRMED,
            CUSTOMER,
            "UPDATE customer SET bucket = 4095 WHERE id = '{customer}'",
        ),
        Damage(
            "orders {order} lies on ",
            CONFIRMED,
            ELSEWHERE,
            "INSERT INTO orders (id, customer_id, bucket, currency, total, content_hash, state, decided_at)"
            " VALUES ('{order}', '{customer}', 1, 'USD', 3000, 'x', 'confirmed', now())",
        ),
        Damage(
            "stock {a} says it is in sku_range 'z', but its key is in ",
            CONFIRMED,
            A,
            "UPDATE stock SET sku_range = 'z' WHERE sku = '{a}'",
        ),
        Damage(
            "shard-2 has ownership rows of bucket '0', which the map gives to shard-1",
            CONFIRMED,
            CUSTOMER,
            "INSERT INTO ownership VALUES ('bucket', '0', 1, 'owned')",
        ),
        Damage(
            "shard-2 has barrier rows of pin 'nobody', which the map gives to ",
            CONFIRMED,
            CUSTOMER,
            "INSERT INTO barrier VALUES ('{saga}', 'x', 'do', 'pin', 'nobody', 'null')",
        ),
        Damage(
            "shard-2 has ownership rows of sku_range 'nowhere', which the map gives to nobody",
            CONFIRMED,
            CUSTOMER,
            "INSERT INTO ownership VALUES ('sku_range', 'nowhere', 1, 'owned')",
        ),
        Damage(
            "orders {order} says it is in bucket '4095'",
            CONFIRMED,
            CUSTOMER,
            "UPDATE orders SET bucket = 4095 WHERE id = '{order}'",
        ),
        Damage(
            "account {customer} says it is in bucket '4095'",
            CONFIRMED,
            CUSTOMER,
            "UPDATE account SET bucket = 4095 WHERE id = '{customer}'",
        ),
        Damage(
            "order_lookup {order} says it is in bucket '4095'",
            CONFIRMED,
            LOOKUP,
            "UPDATE order_lookup SET bucket = 4095 WHERE order_id = '{order}'",
        ),
        Damage(
            "order_lookup {order} lies on ",
            CONFIRMED,
            NOT_LOOKUP,
            "INSERT INTO order_lookup (order_id, bucket, customer_id, content_hash, request, stock_plan)"
            " VALUES ('{order}', 1, '{customer}', 'x', '{{}}', '[]')",
        ),
        Damage(
            "customer {customer} lies on ",
            CONFIRMED,
            ELSEWHERE,
            "INSERT INTO customer (id, bucket, name, content_hash) VALUES ('{customer}', 1, 'x', 'x')",
        ),
        Damage(
            "account {customer} lies on ",
            CONFIRMED,
            ELSEWHERE,
            "INSERT INTO account (id, kind, currency, bucket, posted) VALUES ('{customer}', 'customer', 'USD', 1, 0)",
        ),
        Damage(
            "merchant {merchant} lies on ",
            CONFIRMED,
            ELSEWHERE,
            "INSERT INTO account (id, kind, currency, posted) VALUES ('{merchant}', 'merchant', 'USD', 0)",
        ),
        Damage(
            "stock {a} lies on ",
            CONFIRMED,
            Z,
            "INSERT INTO stock (sku, sku_range, on_hand) VALUES ('{a}', '', 0)",
        ),
    ),
    Check.PREPARED_TRANSACTIONS: (
        Damage(
            "shardwise:{order}:source is prepared and undecided for ",
            CONFIRMED,
            CUSTOMER,
            "INSERT INTO stock_receipt (id, sku, quantity) VALUES ('{order}', 'm', 1);"
            "PREPARE TRANSACTION 'shardwise:{order}:source'",
        ),
    ),
}
