-- On one shard: what the sagas of the orders in the table `planted` would have left there, long ago.
-- Each order is over 2 of its near product and 1 of its far one, at 5.00 USD: 1500 minor units. Constraints stay on.

CREATE FUNCTION pg_temp.long_ago() RETURNS timestamptz STABLE LANGUAGE sql AS $$SELECT now() - interval '90 days'$$;

CREATE TEMPORARY VIEW mine AS SELECT * FROM planted WHERE customer_shard = (SELECT name FROM shard_identity);

-- A rejected order's far product was refused: a barrier with the refusal, and no reservation.
CREATE TEMPORARY VIEW goods AS
    SELECT saga_id, confirmed, near_sku AS sku, near_range AS sku_range, 2 AS quantity, false AS refused
    FROM planted WHERE near_shard = (SELECT name FROM shard_identity)
    UNION ALL
    SELECT saga_id, confirmed, far_sku, far_range, 1, NOT confirmed
    FROM planted WHERE far_shard = (SELECT name FROM shard_identity);

CREATE TEMPORARY VIEW credited AS
    SELECT * FROM planted WHERE confirmed AND EXISTS (SELECT FROM account WHERE id = 'merchant.USD');

-- ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────

INSERT INTO order_lookup (order_id, bucket, customer_id, content_hash, request, stock_plan, created_at)
SELECT order_id, lookup_bucket, customer_id, md5(order_id), jsonb_build_object(
    'order_id', order_id, 'customer_id', customer_id, 'currency', 'USD', 'ordered_on', NULL, 'ship_to', NULL,
    'lines', jsonb_build_array(
        jsonb_build_object('sku', near_sku, 'quantity', 2, 'unit_price', NULL),
        jsonb_build_object('sku', far_sku, 'quantity', 1, 'unit_price', NULL)
    )
), jsonb_build_array(
    jsonb_build_object('sku_range', near_range, 'shard', near_shard, 'quantities', jsonb_build_object(near_sku, 2)),
    jsonb_build_object('sku_range', far_range, 'shard', far_shard, 'quantities', jsonb_build_object(far_sku, 1))
), pg_temp.long_ago()
FROM planted WHERE lookup_shard = (SELECT name FROM shard_identity);

INSERT INTO orders (id, customer_id, bucket, currency, total, content_hash, state, reason, detail, version,
                    placed_at, decided_at, closed_at)
SELECT order_id, customer_id, customer_bucket, 'USD', 1500, md5(order_id), 'confirmed', NULL, NULL, 2,
       pg_temp.long_ago(), pg_temp.long_ago(), NULL
FROM mine WHERE confirmed
UNION ALL
SELECT order_id, customer_id, customer_bucket, 'USD', 1500, md5(order_id), 'rejected', 'out_of_stock',
       far_sku || ': 1 wanted, 0 available', 3, pg_temp.long_ago(), pg_temp.long_ago(), pg_temp.long_ago()
FROM mine WHERE NOT confirmed;

INSERT INTO order_line (order_id, n, sku, quantity, unit_price)
SELECT order_id, 1, near_sku, 2, 500 FROM mine
UNION ALL
SELECT order_id, 2, far_sku, 1, 500 FROM mine;

INSERT INTO shipment (order_id, created_at) SELECT order_id, pg_temp.long_ago() FROM mine WHERE confirmed;

-- ── money ───────────────────────────────────────────────────────────────────────────────────────────────────

INSERT INTO hold (saga_id, step, account_id, amount, state, created_at)
SELECT saga_id, 'open_order', customer_id, 1500, CASE WHEN confirmed THEN 'captured' ELSE 'released' END,
       pg_temp.long_ago()
FROM mine;

INSERT INTO account (id, kind, currency) VALUES ('clearing/USD', 'clearing', 'USD') ON CONFLICT DO NOTHING;

WITH moved AS (
    INSERT INTO movement (saga_id, kind, currency, created_at)
    SELECT saga_id, 'capture', 'USD', pg_temp.long_ago() FROM mine WHERE confirmed RETURNING id, saga_id
), booked AS (
    INSERT INTO entry (movement_id, n, account_id, currency, amount)
    SELECT moved.id, line.n, line.account_id, 'USD', line.amount
    FROM moved JOIN mine USING (saga_id)
    CROSS JOIN LATERAL (VALUES (1, customer_id, -1500), (2, 'clearing/USD', 1500)) AS line (n, account_id, amount)
)
INSERT INTO clearing_leg (saga_id, role, currency, amount, peer, movement_id, created_at)
SELECT saga_id, 'first', 'USD', 1500, 'merchant.USD', id, pg_temp.long_ago() FROM moved;

UPDATE account SET posted = posted - paid.minor, version = version + paid.orders
FROM (
    SELECT customer_id, 1500 * count(*) AS minor, count(*) AS orders FROM mine WHERE confirmed GROUP BY customer_id
) AS paid
WHERE account.id = paid.customer_id;

WITH moved AS (
    INSERT INTO movement (saga_id, kind, currency, created_at)
    SELECT saga_id, 'credit', 'USD', pg_temp.long_ago() FROM credited RETURNING id, saga_id
), booked AS (
    INSERT INTO entry (movement_id, n, account_id, currency, amount)
    SELECT moved.id, line.n, line.account_id, 'USD', line.amount
    FROM moved
    CROSS JOIN (VALUES (1, 'merchant.USD', 1500), (2, 'clearing/USD', -1500)) AS line (n, account_id, amount)
)
INSERT INTO clearing_leg (saga_id, role, currency, amount, peer, movement_id, created_at)
SELECT saga_id, 'second', 'USD', -1500, customer_id, id, pg_temp.long_ago() FROM moved JOIN credited USING (saga_id);

UPDATE account SET posted = posted + paid.minor, version = version + paid.orders
FROM (SELECT 1500 * count(*) AS minor, count(*) AS orders FROM credited) AS paid
WHERE account.id = 'merchant.USD';

-- ── stock ───────────────────────────────────────────────────────────────────────────────────────────────────

INSERT INTO reservation (saga_id, sku, quantity, state, created_at)
SELECT saga_id, sku, quantity, CASE WHEN confirmed THEN 'consumed' ELSE 'released' END, pg_temp.long_ago()
FROM goods WHERE NOT refused;

UPDATE stock SET on_hand = on_hand - gone.quantity, version = version + gone.orders
FROM (SELECT sku, sum(quantity) AS quantity, count(*) AS orders FROM goods WHERE confirmed GROUP BY sku) AS gone
WHERE stock.sku = gone.sku;

-- ── barriers ────────────────────────────────────────────────────────────────────────────────────────────────

INSERT INTO barrier (saga_id, step, op, keyspace, slot, result, created_at)
SELECT saga_id, step, op, keyspace, slot, CAST(result AS jsonb), pg_temp.long_ago() FROM (
    SELECT saga_id, 'open_order' AS step, 'do' AS op, 'bucket' AS keyspace, CAST(customer_bucket AS text) AS slot,
           'null' AS result
    FROM mine
    UNION ALL
    SELECT saga_id, 'open_order', 'undo', 'bucket', CAST(customer_bucket AS text), NULL FROM mine WHERE NOT confirmed
    UNION ALL
    SELECT saga_id, 'reserve_stock/' || sku_range, 'do', 'sku_range', sku_range,
           CASE WHEN refused THEN '{"reason": "out_of_stock", "detail": "none left"}' ELSE 'null' END
    FROM goods
    UNION ALL
    SELECT saga_id, 'reserve_stock/' || sku_range, 'undo', 'sku_range', sku_range, NULL FROM goods WHERE NOT confirmed
    UNION ALL
    SELECT saga_id, 'consume_stock/' || sku_range, 'do', 'sku_range', sku_range, 'null' FROM goods WHERE confirmed
    UNION ALL
    SELECT saga_id, 'credit_merchant', 'do', 'pin', 'merchant.USD', 'null' FROM credited
) AS steps;

-- ── events ──────────────────────────────────────────────────────────────────────────────────────────────────

-- What happened long ago is told no more: everybody had taken it, and it was trimmed.
DELETE FROM outbox;
INSERT INTO outbox_cursor AS c (consumer, xid) VALUES ('trimmed', pg_current_xact_id())
ON CONFLICT (consumer) DO UPDATE SET xid = excluded.xid;
