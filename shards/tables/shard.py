"""The tables of one shard."""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID

from domain.accounts import AccountState
from domain.limits import AMOUNT_MINOR_UNITS_MAX, NAME_CHARS_MAX, QUANTITY_MAX
from shards.tables.common import XID8, currency, db_time, identifier, new_metadata, one_of, settings, text_of

metadata = new_metadata()

# ── identity and ownership ──────────────────────────────────────────────────────────────────────────────────

shard_identity = Table(
    "shard_identity",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    Column("name", Text, nullable=False),
    CheckConstraint("only_row", name="only_row"),
)

# A slot without a row here, or whose row is not `owned`, is refused to every writer, whatever its map says.
ownership = Table(
    "ownership",
    metadata,
    Column("keyspace", Text, primary_key=True),
    Column("slot", Text, primary_key=True),
    Column("map_version", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    CheckConstraint("keyspace IN ('bucket', 'sku_range', 'pin')", name="keyspace"),
    CheckConstraint("state IN ('owned', 'fenced')", name="state"),
)

# The forks of this shard's history: see `shards.connections.forks`. `began`: up to there the fork before is true here.
# `started_at` is when the server started that began it.
shard_fork = Table(
    "shard_fork",
    metadata,
    Column("n", BigInteger, Identity(always=True), primary_key=True),
    Column("id", UUID, nullable=False, unique=True),
    Column("began", BigInteger, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False, unique=True),
)

# ── sagas ───────────────────────────────────────────────────────────────────────────────────────────────────

# One row per step and direction, written in the transaction of the effect. It makes repeated, late and reordered calls
# harmless. It is on the shard of the effect and names the slot with which it moves.
barrier = Table(
    "barrier",
    metadata,
    Column("saga_id", Text, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("op", Text, primary_key=True),
    Column("keyspace", Text, nullable=False),
    Column("slot", Text, nullable=False),
    Column("result", JSONB),
    db_time("created_at"),
    CheckConstraint("op IN ('do', 'undo')", name="op"),
)

# ── customers and money ─────────────────────────────────────────────────────────────────────────────────────

customer = Table(
    "customer",
    metadata,
    Column("id", Text, primary_key=True),
    Column("bucket", SmallInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("email", Text),
    Column("content_hash", Text, nullable=False),
    db_time("created_at"),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    # With name and email the customer's profile. Names and values of settings are the callers' own.
    Column("address", Text),
    Column("city", Text),
    Column("postal_code", Text),
    Column("country", Text),
    Column("settings", JSONB, nullable=False, server_default=text("'{}'")),
    CheckConstraint(identifier("id"), name="id"),
    CheckConstraint(
        text_of(NAME_CHARS_MAX, "name", "email", "address", "city", "postal_code", "country"), name="profile"
    ),
    CheckConstraint(settings("settings"), name="settings"),
)

# Clearing and equity keep no balance: `posted` would be one hot lock for the whole shard. Theirs is the sum of
# their entries.
account = Table(
    "account",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("bucket", SmallInteger),
    Column("posted", BigInteger),
    Column("held", BigInteger, nullable=False, server_default=text("0")),
    Column("overdraft", BigInteger, nullable=False, server_default=text("0")),
    Column("state", Text, nullable=False, server_default=text("'open'")),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    db_time("created_at"),
    UniqueConstraint("id", "currency"),
    CheckConstraint("kind IN ('customer', 'merchant', 'clearing', 'equity')", name="kind"),
    CheckConstraint(one_of("state", AccountState), name="state"),
    CheckConstraint("(posted IS NULL) = (kind IN ('clearing', 'equity'))", name="posted"),
    CheckConstraint("(bucket IS NOT NULL) = (kind = 'customer')", name="bucket"),
    CheckConstraint("held >= 0", name="held"),
    CheckConstraint("overdraft >= 0", name="overdraft"),
    CheckConstraint("kind IN ('clearing', 'equity') OR posted - held + overdraft >= 0", name="available"),
    CheckConstraint(
        f"kind IN ('clearing', 'equity') AND id = kind || '/' || currency OR {identifier('id')}", name="id"
    ),
    CheckConstraint(currency(), name="currency"),
    # Pages of several shards are merged: an order that does not depend on the collation of a database.
    Index("account_page", text('id COLLATE "C"'), postgresql_where=text("kind IN ('customer', 'merchant')")),
)

movement = Table(
    "movement",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("saga_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("currency", Text, nullable=False),
    db_time("created_at"),
    # By it a projection reads the movements of a slice's transactions, as it reads their events.
    Column("xid", XID8, nullable=False, server_default=text("pg_current_xact_id()")),
    UniqueConstraint("saga_id", "kind"),
    UniqueConstraint("id", "currency"),
    CheckConstraint("kind IN ('opening', 'capture', 'debit', 'credit', 'transfer')", name="kind"),
    Index("movement_position", "xid", "id"),
)

# Both foreign keys include the currency, so a movement cannot mix currencies.
entry = Table(
    "entry",
    metadata,
    Column("movement_id", BigInteger, primary_key=True),
    Column("n", SmallInteger, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    ForeignKeyConstraint(["movement_id", "currency"], ["movement.id", "movement.currency"]),
    ForeignKeyConstraint(["account_id", "currency"], ["account.id", "account.currency"]),
    CheckConstraint("amount <> 0", name="amount"),
    Index("entry_account", "account_id"),
)

MOVEMENT_MUST_BALANCE = (
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
for _statement in MOVEMENT_MUST_BALANCE:
    # DDL() formats with %, and RAISE uses % itself.
    event.listen(entry, "after_create", DDL(_statement.replace("%", "%%")))  # type: ignore[no-untyped-call]

# Money set aside for a saga; not an entry. Placed once, then captured or released.
hold = Table(
    "hold",
    metadata,
    Column("saga_id", Text, primary_key=True),
    Column("step", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("account.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    db_time("created_at"),
    CheckConstraint("amount > 0", name="amount"),
    CheckConstraint("state IN ('placed', 'captured', 'released')", name="state"),
    CheckConstraint(f"amount <= {AMOUNT_MINOR_UNITS_MAX}", name="limit"),
    Index("hold_placed", "account_id", postgresql_where=text("state = 'placed'")),
)

# Money between shards passes through clearing in two legs. `verify` pairs them to find what is in flight.
clearing_leg = Table(
    "clearing_leg",
    metadata,
    Column("saga_id", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("peer", Text, nullable=False),
    Column("movement_id", BigInteger, ForeignKey("movement.id"), nullable=False, unique=True),
    db_time("created_at"),
    CheckConstraint("role IN ('first', 'second')", name="role"),
    CheckConstraint("(role = 'first' AND amount > 0) OR (role = 'second' AND amount < 0)", name="amount"),
)

# ── stock ───────────────────────────────────────────────────────────────────────────────────────────────────

product = Table(
    "product",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("unit_price", BigInteger, nullable=False),
    Column("content_hash", Text, nullable=False),
    db_time("created_at"),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    CheckConstraint("unit_price >= 0", name="unit_price"),
    CheckConstraint(identifier("sku"), name="sku"),
    CheckConstraint(currency(), name="currency"),
    CheckConstraint(f"unit_price <= {AMOUNT_MINOR_UNITS_MAX}", name="limit"),
)

stock = Table(
    "stock",
    metadata,
    Column("sku", Text, ForeignKey("product.sku"), primary_key=True),
    Column("sku_range", Text, nullable=False),
    Column("on_hand", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False, server_default=text("0")),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    CheckConstraint("on_hand >= 0", name="on_hand"),
    CheckConstraint("reserved >= 0", name="reserved"),
    CheckConstraint("reserved <= on_hand", name="available"),
)

# All goods ever received, the import's opening quantity included. on_hand = receipts - consumed reservations.
stock_receipt = Table(
    "stock_receipt",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sku", Text, ForeignKey("stock.sku"), nullable=False),
    Column("quantity", BigInteger, nullable=False),
    db_time("created_at"),
    CheckConstraint("quantity > 0", name="quantity"),
    Index("stock_receipt_sku", "sku"),
)

reservation = Table(
    "reservation",
    metadata,
    Column("saga_id", Text, primary_key=True),
    Column("sku", Text, ForeignKey("stock.sku"), primary_key=True),
    Column("quantity", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    db_time("created_at"),
    CheckConstraint("quantity > 0", name="quantity"),
    CheckConstraint("state IN ('reserved', 'released', 'consumed')", name="state"),
    CheckConstraint(f"quantity <= {QUANTITY_MAX}", name="limit"),
    Index("reservation_sku", "sku"),
)

# ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────

# Sharded by hash of the order id: finds the order's customer, keeps the id unique for ever, and keeps the
# reason of an order that was refused before it had a row.
order_lookup = Table(
    "order_lookup",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("bucket", SmallInteger, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("content_hash", Text, nullable=False),
    # The order as requested: a workflow that was lost is started again from here, with the same content hash.
    Column("request", JSONB, nullable=False),
    # Which SKUs are in which range, as first planned: the steps of a saga must not change when the map does.
    Column("stock_plan", JSONB, nullable=False),
    Column("refused_reason", Text),
    Column("refused_detail", Text),
    db_time("created_at"),
    CheckConstraint("(refused_reason IS NULL) = (refused_detail IS NULL)", name="refused"),
    CheckConstraint(identifier("order_id"), name="order_id"),
    CheckConstraint(identifier("customer_id"), name="customer_id"),
)

orders = Table(
    "orders",
    metadata,
    Column("id", Text, primary_key=True),
    Column("customer_id", Text, ForeignKey("customer.id"), nullable=False),
    Column("bucket", SmallInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("detail", Text),
    Column("ordered_on", Date),
    Column("ship_to", JSONB),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    db_time("placed_at"),
    Column("decided_at", DateTime(timezone=True)),
    Column("closed_at", DateTime(timezone=True)),
    # What the reactors of a choreographed order need; NULL for an orchestrated order.
    Column("choreography", JSONB),
    CheckConstraint("total >= 0", name="total"),
    CheckConstraint("state IN ('pending', 'confirmed', 'aborting', 'rejected', 'cancelled')", name="state"),
    CheckConstraint("(reason IS NOT NULL) = (state IN ('aborting', 'rejected', 'cancelled'))", name="reason"),
    CheckConstraint("(reason IS NULL) = (detail IS NULL)", name="detail"),
    CheckConstraint("(decided_at IS NULL) = (state = 'pending')", name="decided"),
    CheckConstraint(identifier("id"), name="id"),
    CheckConstraint(currency(), name="currency"),
    CheckConstraint(f"total <= {AMOUNT_MINOR_UNITS_MAX}", name="limit"),
    Index("orders_customer", "customer_id"),
    Index("orders_unfinished", "state", postgresql_where=text("state IN ('pending', 'aborting')")),
)

order_line = Table(
    "order_line",
    metadata,
    Column("order_id", Text, ForeignKey("orders.id"), primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("unit_price", BigInteger, nullable=False),
    CheckConstraint("quantity > 0", name="quantity"),
    CheckConstraint("unit_price >= 0", name="unit_price"),
    CheckConstraint(identifier("sku"), name="sku"),
    CheckConstraint(f"quantity <= {QUANTITY_MAX} AND unit_price <= {AMOUNT_MINOR_UNITS_MAX}", name="limits"),
)

shipment = Table(
    "shipment",
    metadata,
    Column("order_id", Text, ForeignKey("orders.id"), primary_key=True),
    Column("ship_to", JSONB),
    Column("state", Text, nullable=False, server_default=text("'requested'")),
    db_time("created_at"),
    CheckConstraint("state IN ('requested')", name="state"),
)
