"""What must never be found in the tables. Raised, never repaired: a person has to look."""

from __future__ import annotations

from domain.errors import ShardwiseError


class IntegrityViolation(ShardwiseError):
    """The transaction was rolled back. No retry can mend it."""

    def __init__(self, message: str) -> None:
        super().__init__("integrity_violation", message)
