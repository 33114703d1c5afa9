"""What lists and reports leave out: the rows of `shardwise contrast`. A look-up by id still finds them."""

from __future__ import annotations

from domain.identifiers import CONTRAST_SUFFIX


def not_of_contrast(column: str) -> str:
    """`column` holds the ids of orders or SKUs."""
    return f"{column} NOT LIKE '%{CONTRAST_SUFFIX}'"
