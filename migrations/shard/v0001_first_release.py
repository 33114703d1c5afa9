"""A shard of the first release: ownership, barriers, outbox, double entry, stock and orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from migrations.xid8 import Xid8

revision = "shard_0001"
down_revision = None
branch_labels = "shard"
depends_on = None

# In the order in which they refer to each other.
_TABLES = (
    "shard_identity",
    "ownership",
    "barrier",
    "outbox",
    "customer",
    "account",
    "movement",
    "entry",
    "hold",
    "clearing_leg",
    "product",
    "stock",
    "stock_receipt",
    "reservation",
    "order_lookup",
    "orders",
    "order_line",
    "shipment",
)

_MOVEMENT_MUST_BALANCE = (
    """
    CREATE FUNCTION movement_must_balance() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        wrong record;
    BEGIN
        SELECT movement_id, sum(amount) AS off_by INTO wrong FROM entry
        WHERE movement_id IN (NEW.movement_id, OLD.movement_id)
        GROUP BY movement_id HAVING sum(amount) <> 0 LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'movement % does not sum to zero: off by %', wrong.movement_id, wrong.off_by
                USING ERRCODE = 'check_violation';
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE CONSTRAINT TRIGGER movement_balances AFTER INSERT OR UPDATE OR DELETE ON entry
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION movement_must_balance()
    """,
)


def upgrade() -> None:
    _ownership()
    _sagas()
    _accounts()
    _movements()
    _holds_and_clearing()
    _stock()
    _reservations()
    _orders()
    _order_parts()


def downgrade() -> None:
    for table in reversed(_TABLES):
        op.drop_table(table)
    op.execute("DROP FUNCTION movement_must_balance()")


def _ownership() -> None:
    op.create_table(
        "shard_identity",
        sa.Column("only_row", sa.Boolean, primary_key=True, server_default=sa.text("true")),
        sa.Column("name", sa.Text, nullable=False),
        sa.CheckConstraint("only_row", name="shard_identity_only_row_check"),
    )
    op.create_table(
        "ownership",
        sa.Column("keyspace", sa.Text, primary_key=True),
        sa.Column("slot", sa.Text, primary_key=True),
        sa.Column("map_version", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.CheckConstraint("keyspace IN ('bucket', 'sku_range', 'pin')", name="ownership_keyspace_check"),
        sa.CheckConstraint("state IN ('owned', 'fenced')", name="ownership_state_check"),
    )


def _sagas() -> None:
    op.create_table(
        "barrier",
        sa.Column("saga_id", sa.Text, primary_key=True),
        sa.Column("step", sa.Text, primary_key=True),
        sa.Column("op", sa.Text, primary_key=True),
        sa.Column("keyspace", sa.Text, nullable=False),
        sa.Column("slot", sa.Text, nullable=False),
        sa.Column("result", JSONB),
        _db_time("created_at"),
        sa.CheckConstraint("op IN ('do', 'undo')", name="barrier_op_check"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("xid", Xid8, nullable=False, server_default=sa.text("pg_current_xact_id()")),
        sa.Column("origin_shard", sa.Text, nullable=False),
        sa.Column("saga_id", sa.Text, nullable=False),
        sa.Column("aggregate", sa.Text, nullable=False),
        sa.Column("aggregate_id", sa.Text, nullable=False),
        sa.Column("aggregate_version", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("payload", JSONB, nullable=False),
        _db_time("created_at"),
        sa.Index("outbox_position", "xid", "id"),
    )


def _accounts() -> None:
    op.create_table(
        "customer",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("bucket", sa.SmallInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text),
        sa.Column("content_hash", sa.Text, nullable=False),
        _db_time("created_at"),
    )
    op.create_table(
        "account",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("bucket", sa.SmallInteger),
        sa.Column("posted", sa.BigInteger),
        sa.Column("held", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("overdraft", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'open'")),
        sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("1")),
        _db_time("created_at"),
        sa.UniqueConstraint("id", "currency"),
        sa.CheckConstraint("kind IN ('customer', 'merchant', 'clearing', 'equity')", name="account_kind_check"),
        sa.CheckConstraint("state IN ('open', 'frozen', 'closed')", name="account_state_check"),
        sa.CheckConstraint("(posted IS NULL) = (kind IN ('clearing', 'equity'))", name="account_posted_check"),
        sa.CheckConstraint("(bucket IS NOT NULL) = (kind = 'customer')", name="account_bucket_check"),
        sa.CheckConstraint("held >= 0", name="account_held_check"),
        sa.CheckConstraint("overdraft >= 0", name="account_overdraft_check"),
        sa.CheckConstraint(
            "kind IN ('clearing', 'equity') OR posted - held + overdraft >= 0",
            name="account_available_check",
        ),
    )


def _movements() -> None:
    op.create_table(
        "movement",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("saga_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        _db_time("created_at"),
        sa.UniqueConstraint("saga_id", "kind"),
        sa.UniqueConstraint("id", "currency"),
        sa.CheckConstraint("kind IN ('opening', 'capture', 'credit')", name="movement_kind_check"),
    )
    op.create_table(
        "entry",
        sa.Column("movement_id", sa.BigInteger, primary_key=True),
        sa.Column("n", sa.SmallInteger, primary_key=True),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["movement_id", "currency"], ["movement.id", "movement.currency"]),
        sa.ForeignKeyConstraint(["account_id", "currency"], ["account.id", "account.currency"]),
        sa.CheckConstraint("amount <> 0", name="entry_amount_check"),
        sa.Index("entry_account", "account_id"),
    )
    for statement in _MOVEMENT_MUST_BALANCE:
        op.execute(statement)


def _holds_and_clearing() -> None:
    op.create_table(
        "hold",
        sa.Column("saga_id", sa.Text, primary_key=True),
        sa.Column("step", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        _db_time("created_at"),
        sa.CheckConstraint("amount > 0", name="hold_amount_check"),
        sa.CheckConstraint("state IN ('placed', 'captured', 'released')", name="hold_state_check"),
        sa.Index("hold_placed", "account_id", postgresql_where=sa.text("state = 'placed'")),
    )
    op.create_table(
        "clearing_leg",
        sa.Column("saga_id", sa.Text, primary_key=True),
        sa.Column("role", sa.Text, primary_key=True),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("movement_id", sa.BigInteger, sa.ForeignKey("movement.id"), nullable=False, unique=True),
        _db_time("created_at"),
        sa.CheckConstraint("role IN ('first', 'second')", name="clearing_leg_role_check"),
        sa.CheckConstraint(
            "(role = 'first' AND amount > 0) OR (role = 'second' AND amount < 0)",
            name="clearing_leg_amount_check",
        ),
    )


def _stock() -> None:
    op.create_table(
        "product",
        sa.Column("sku", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("unit_price", sa.BigInteger, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        _db_time("created_at"),
        sa.CheckConstraint("unit_price >= 0", name="product_unit_price_check"),
    )
    op.create_table(
        "stock",
        sa.Column("sku", sa.Text, sa.ForeignKey("product.sku"), primary_key=True),
        sa.Column("sku_range", sa.Text, nullable=False),
        sa.Column("on_hand", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("1")),
        sa.CheckConstraint("on_hand >= 0", name="stock_on_hand_check"),
        sa.CheckConstraint("reserved >= 0", name="stock_reserved_check"),
        sa.CheckConstraint("reserved <= on_hand", name="stock_available_check"),
    )
    op.create_table(
        "stock_receipt",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("sku", sa.Text, sa.ForeignKey("stock.sku"), nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        _db_time("created_at"),
        sa.CheckConstraint("quantity > 0", name="stock_receipt_quantity_check"),
        sa.Index("stock_receipt_sku", "sku"),
    )


def _reservations() -> None:
    op.create_table(
        "reservation",
        sa.Column("saga_id", sa.Text, primary_key=True),
        sa.Column("sku", sa.Text, sa.ForeignKey("stock.sku"), primary_key=True),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        _db_time("created_at"),
        sa.CheckConstraint("quantity > 0", name="reservation_quantity_check"),
        sa.CheckConstraint("state IN ('reserved', 'released', 'consumed')", name="reservation_state_check"),
        sa.Index("reservation_sku", "sku"),
    )


def _orders() -> None:
    op.create_table(
        "order_lookup",
        sa.Column("order_id", sa.Text, primary_key=True),
        sa.Column("bucket", sa.SmallInteger, nullable=False),
        sa.Column("customer_id", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("request", JSONB, nullable=False),
        sa.Column("stock_plan", JSONB, nullable=False),
        sa.Column("refused_reason", sa.Text),
        sa.Column("refused_detail", sa.Text),
        _db_time("created_at"),
        sa.CheckConstraint("(refused_reason IS NULL) = (refused_detail IS NULL)", name="order_lookup_refused_check"),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("customer_id", sa.Text, sa.ForeignKey("customer.id"), nullable=False),
        sa.Column("bucket", sa.SmallInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("ordered_on", sa.Date),
        sa.Column("ship_to", JSONB),
        sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("1")),
        _db_time("placed_at"),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("total >= 0", name="orders_total_check"),
        sa.CheckConstraint(
            "state IN ('pending', 'confirmed', 'aborting', 'rejected', 'cancelled')",
            name="orders_state_check",
        ),
        sa.CheckConstraint(
            "(reason IS NOT NULL) = (state IN ('aborting', 'rejected', 'cancelled'))",
            name="orders_reason_check",
        ),
        sa.CheckConstraint("(reason IS NULL) = (detail IS NULL)", name="orders_detail_check"),
        sa.CheckConstraint("(decided_at IS NULL) = (state = 'pending')", name="orders_decided_check"),
        sa.Index("orders_customer", "customer_id"),
        sa.Index("orders_unfinished", "state", postgresql_where=sa.text("state IN ('pending', 'aborting')")),
    )


def _order_parts() -> None:
    op.create_table(
        "order_line",
        sa.Column("order_id", sa.Text, sa.ForeignKey("orders.id"), primary_key=True),
        sa.Column("n", sa.Integer, primary_key=True),
        sa.Column("sku", sa.Text, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("unit_price", sa.BigInteger, nullable=False),
        sa.CheckConstraint("quantity > 0", name="order_line_quantity_check"),
        sa.CheckConstraint("unit_price >= 0", name="order_line_unit_price_check"),
    )
    op.create_table(
        "shipment",
        sa.Column("order_id", sa.Text, sa.ForeignKey("orders.id"), primary_key=True),
        sa.Column("ship_to", JSONB),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'requested'")),
        _db_time("created_at"),
        sa.CheckConstraint("state IN ('requested')", name="shipment_state_check"),
    )


def _db_time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()"))
