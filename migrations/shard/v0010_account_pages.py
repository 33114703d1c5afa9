"""An index for pages of accounts that are merged over shards. Accounts cannot be written while it is made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "shard_0010"
down_revision = "shard_0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    of_people = sa.text("kind IN ('customer', 'merchant')")
    op.create_index("account_page", "account", [sa.text('id COLLATE "C"')], postgresql_where=of_people)


def downgrade() -> None:
    op.drop_index("account_page", "account")
