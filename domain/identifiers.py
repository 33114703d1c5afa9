"""Ids of customers, accounts, SKUs, orders and transfers, and the saga ids built from them.

No slash in an id: it is what separates the parts of a saga id.
"""

from __future__ import annotations

import re

from domain.errors import InvalidInput
from domain.limits import IDENTIFIER_CHARS_MAX

SHARD_NAME_PATTERN = r"^[A-Za-z0-9._-]{1,63}$"
_IDENTIFIER = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)

MERCHANT_PREFIX = "merchant."
CONTRAST_SUFFIX = ".shardwise-contrast"
"""Ends the ids of the customers, products and orders that `shardwise contrast` makes. Lists and reports leave them out,
but for `report balances`, which has every account: sums without some of them would not balance.
No other customer, product or order has such an id: customers and products are refused where they are made, and an
order has only such ids or none."""


def check_identifier(value: object, field: str) -> str:
    """`value` unchanged, or `InvalidInput` naming `field`."""
    if isinstance(value, str) and 1 <= len(value) <= IDENTIFIER_CHARS_MAX and _IDENTIFIER.fullmatch(value) is not None:
        return value
    raise InvalidInput(
        field,
        f"{field}: expected 1 to {IDENTIFIER_CHARS_MAX} of letters, digits, '.', '_', '-', got {shown(value)}",
    )


def contrast_id(name: str) -> str:
    return name + CONTRAST_SUFFIX


def is_contrast_id(identifier: str) -> bool:
    return identifier.endswith(CONTRAST_SUFFIX)


def refuse_contrast_id(identifier: str, field: str) -> None:
    """`InvalidInput` naming `field` for an id that only `shardwise contrast` may use."""
    if is_contrast_id(identifier):
        raise InvalidInput(field, f"{field}: ids that end with '{CONTRAST_SUFFIX}' are those of `shardwise contrast`")


def check_shard_name(value: str, field: str) -> str:
    """`value` unchanged, or `InvalidInput`. Only the shard map knows whether there is such a shard."""
    if re.fullmatch(SHARD_NAME_PATTERN, value) is not None:
        return value
    raise InvalidInput(field, f"{field}: expected a shard's name such as 'shard-1', got {shown(value)}")


def shown(value: object, chars_max: int = 60) -> str:
    """`value` for a message: quoted, escaped, and never longer than a line of a terminal."""
    text = ascii(value)
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def order_saga_id(order_id: str) -> str:
    """Names the order's business transaction; also its workflow's id in the orchestrated style."""
    return f"order/{order_id}"


def transfer_saga_id(source: str, transfer_id: str) -> str:
    """Names the transfer's business transaction, and its workflow. A transfer's id is unique within its source."""
    return f"transfer/{source}/{transfer_id}"


def merchant_account_id(currency: str) -> str:
    """The default merchant account of a currency: it is paid for what is sold."""
    return f"{MERCHANT_PREFIX}{currency}"


def clearing_account_id(currency: str) -> str:
    """A shard's account for money on its way to or from other shards. The slash keeps it out of customers' reach."""
    return f"clearing/{currency}"


def equity_account_id(currency: str) -> str:
    """The source of opening balances: in double entry no money comes from nowhere."""
    return f"equity/{currency}"
