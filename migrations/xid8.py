"""Postgres's 64-bit transaction id as a column type for revisions."""

from __future__ import annotations

from sqlalchemy.types import UserDefinedType


class Xid8(UserDefinedType[str]):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"
