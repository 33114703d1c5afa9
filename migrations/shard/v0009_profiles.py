"""Address and free settings of customers, which are their profile with name and email.

Fails if an existing name or email is empty or too long, and leaves the database as it was.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "shard_0009"
down_revision = "shard_0008"
branch_labels = None
depends_on = None

_COLUMNS = ("address", "city", "postal_code", "country")
_PROFILE = " AND ".join(f"char_length({name}) BETWEEN 1 AND 200" for name in ("name", "email", *_COLUMNS))
_HALF = "[^[:cntrl:]]{0,250}"
_WRONG = (
    '$.keyvalue() ? (!(@.key like_regex "^[A-Za-z0-9._-]{1,64}$") || @.value.type() != "string" '
    f'|| !(@.value like_regex "^{_HALF}{_HALF}$"))'
)
_SETTINGS = f"""
    CASE WHEN jsonb_typeof(settings) = 'object' THEN
        jsonb_array_length(jsonb_path_query_array(settings, '$.keyvalue()')) <= 50
        AND octet_length(CAST(settings AS text)) <= 8192
        AND NOT jsonb_path_exists(settings, '{_WRONG}') ELSE false END
"""


def upgrade() -> None:
    for name in _COLUMNS:
        op.add_column("customer", sa.Column(name, sa.Text))
    op.add_column("customer", sa.Column("settings", JSONB, nullable=False, server_default=sa.text("'{}'")))
    op.create_check_constraint("customer_profile_check", "customer", _PROFILE)
    op.create_check_constraint("customer_settings_check", "customer", _SETTINGS)


def downgrade() -> None:
    op.drop_constraint("customer_settings_check", "customer")
    op.drop_constraint("customer_profile_check", "customer")
    for name in ("settings", *reversed(_COLUMNS)):
        op.drop_column("customer", name)
