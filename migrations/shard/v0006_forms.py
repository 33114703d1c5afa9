"""Check constraints for the form of ids and currencies and the limits of amounts, which the application checks too.

Fails if an existing row breaks a rule: it names the table, and leaves the database as it was.
"""

from __future__ import annotations

from alembic import op

revision = "shard_0006"
down_revision = "shard_0005"
branch_labels = None
depends_on = None

_ID = "COLLATE \"C\" ~ '^[A-Za-z0-9._-]{1,100}$'"
_CURRENCY = "COLLATE \"C\" ~ '^[A-Z]{3}$'"
_AMOUNT_MAX = 10**15
_QUANTITY_MAX = 10**6

CHECKS = {
    "customer": {"id": f"id {_ID}"},
    "account": {
        "id": f"kind IN ('clearing', 'equity') AND id = kind || '/' || currency OR id {_ID}",
        "currency": f"currency {_CURRENCY}",
    },
    "hold": {"limit": f"amount <= {_AMOUNT_MAX}"},
    "product": {
        "sku": f"sku {_ID}",
        "currency": f"currency {_CURRENCY}",
        "limit": f"unit_price <= {_AMOUNT_MAX}",
    },
    "reservation": {"limit": f"quantity <= {_QUANTITY_MAX}"},
    "order_lookup": {"order_id": f"order_id {_ID}", "customer_id": f"customer_id {_ID}"},
    "orders": {
        "id": f"id {_ID}",
        "currency": f"currency {_CURRENCY}",
        "limit": f"total <= {_AMOUNT_MAX}",
    },
    "order_line": {
        "sku": f"sku {_ID}",
        "limits": f"quantity <= {_QUANTITY_MAX} AND unit_price <= {_AMOUNT_MAX}",
    },
    "transfer": {
        "ids": f"id {_ID} AND source {_ID} AND target {_ID}",
        "currency": f"currency {_CURRENCY}",
        "limit": f"amount <= {_AMOUNT_MAX}",
    },
    "admission": {
        "account_id": f"account_id {_ID}",
        "currency": f"currency {_CURRENCY}",
        "limit": f"amount <= {_AMOUNT_MAX}",
    },
}


def upgrade() -> None:
    for table, checks in CHECKS.items():
        for name, condition in checks.items():
            op.create_check_constraint(f"{table}_{name}_check", table, condition)


def downgrade() -> None:
    for table, checks in CHECKS.items():
        for name in checks:
            op.drop_constraint(f"{table}_{name}_check", table)
