"""Behind every entrance: what the tables themselves refuse, whatever writes them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from domain.errors import InvalidInput
from domain.identifiers import check_identifier
from domain.profiles import ProfileContent, profile_change
from shards.tables.common import identifier, settings
from tests.support.world import World

BEYOND = 10**15 + 1
TRANSFER = (
    "INSERT INTO transfer (source, id, keyspace, slot, target, currency, amount, content_hash, protocol, state, "
    "decided_at) VALUES ('{source}', '{id}', 'bucket', '1', '{target}', '{currency}', {amount}, 'x', 'local', "
    "'confirmed', now())"
)
GOOD_TRANSFER = {"source": "ada", "id": "t", "target": "alan", "currency": "USD", "amount": 1}
ADMISSION = (
    "INSERT INTO admission (saga_id, account_id, keyspace, slot, currency, amount, state) "
    "VALUES ('transfer/ada/t', '{account}', 'bucket', '1', '{currency}', {amount}, 'open')"
)
GOOD_ADMISSION = {"account": "alan", "currency": "USD", "amount": 1}
ACCOUNT = (
    "INSERT INTO account (id, kind, currency, bucket, posted) "
    "VALUES ('{id}', '{kind}', '{currency}', {bucket}, {posted})"
)
PRODUCT = (
    "INSERT INTO product (sku, name, currency, unit_price, content_hash) VALUES ('{sku}', 'x', 'USD', {price}, 'x')"
)
BAD = {
    "a customer": "INSERT INTO customer (id, bucket, name, content_hash) VALUES ('a b', 1, 'x', 'x')",
    "a name": "INSERT INTO customer (id, bucket, name, content_hash) VALUES ('x', 1, '', 'x')",
    "an address": f"UPDATE customer SET city = '{'x' * 201}'",
    "settings": """UPDATE customer SET settings = '{"a b": "x"}'""",
    "an account": ACCOUNT.format(id="a b", kind="customer", currency="USD", bucket=1, posted=0),
    "a merchant": ACCOUNT.format(id="merchant/USD", kind="merchant", currency="USD", bucket="NULL", posted=0),
    "clearing": ACCOUNT.format(id="clearing/EUR", kind="clearing", currency="USD", bucket="NULL", posted="NULL"),
    "a currency": ACCOUNT.format(id="x", kind="customer", currency="usd", bucket=1, posted=0),
    "a SKU": PRODUCT.format(sku="a b", price=1),
    "a price": PRODUCT.format(sku="x", price=BEYOND),
    "an order's id": (
        "INSERT INTO order_lookup (order_id, bucket, customer_id, content_hash, request, stock_plan) "
        "VALUES ('a b', 1, 'ada', 'x', '{}', '[]')"
    ),
    "an order's customer": (
        "INSERT INTO order_lookup (order_id, bucket, customer_id, content_hash, request, stock_plan) "
        "VALUES ('x', 1, 'a/b', 'x', '{}', '[]')"
    ),
    "an order": "INSERT INTO orders (id, customer_id, bucket, currency, total, content_hash, state) "
    "SELECT 'a b', id, 1, 'USD', 1, 'x', 'pending' FROM customer LIMIT 1",
    "a total": "INSERT INTO orders (id, customer_id, bucket, currency, total, content_hash, state) "
    f"SELECT 'x', id, 1, 'USD', {BEYOND}, 'x', 'pending' FROM customer LIMIT 1",
    "a line": "INSERT INTO order_line (order_id, n, sku, quantity, unit_price) VALUES ('x', 0, 's', 1000001, 1)",
    "a reservation": "INSERT INTO reservation (saga_id, sku, quantity, state) VALUES ('x', 'm', 1000001, 'reserved')",
    **{
        f"a transfer's {name}": TRANSFER.format(**{**GOOD_TRANSFER, name: bad})
        for name, bad in {"source": "a b", "id": "a/b", "target": "", "currency": "EURO", "amount": BEYOND}.items()
    },
    **{
        f"an admission's {name}": ADMISSION.format(**{**GOOD_ADMISSION, name: bad})
        for name, bad in {"account": "a b", "currency": "$", "amount": BEYOND}.items()
    },
}


@pytest.fixture(scope="module", autouse=True)
async def somebody(world: World) -> None:
    await world.customer(shard="shard-1")


@pytest.mark.parametrize("statement", BAD.values(), ids=BAD)
async def test_the_tables_refuse_it(world: World, statement: str) -> None:
    with pytest.raises(IntegrityError, match="check constraint"):
        await world.rows("shard-1", statement)


async def test_the_tables_accept_what_the_rule_accepts(world: World) -> None:
    plain = ["", "a", "A-z_0.9", "a b", "a/b", "ä", "a\n", "\na", "a'b", "x" * 100, "x" * 101]
    some = [*plain, "\u0661", "\uff21", "a\u200d"]
    for text in some:
        try:
            check_identifier(text, "id")
            allowed = True
        except InvalidInput:
            allowed = False
        [(by_table,)] = await world.rows("shard-1", f"SELECT {identifier('CAST(:text AS text)')}", text=text)
        assert by_table == allowed, ascii(text)


NAMES = ("a", "A-z_0.9", "x" * 64, "x" * 65, "", "a b", "a/b", "ä", "a\n", "$")
VALUES: tuple[Any, ...] = (
    "",
    " ",
    "ä\u2603",
    '"',
    "\\",
    "x" * 500,
    "x" * 501,
    "\U0001f600" * 500,
    "a\nb",
    "\x1b",
    5,
    True,
    [],
    {},
)
SETTINGS: list[dict[str, Any]] = [
    {},
    *({name: "x"} for name in NAMES),
    *({"a": value} for value in VALUES),
    *({f"s{n}": "x" for n in range(count)} for count in (50, 51)),
    # 8,192 bytes, and one more.
    *({**{f"s{n:03}": "x" * 400 for n in range(19)}, "last": "x" * rest} for rest in (352, 353)),
    {f"s{n}": "\N{SNOWMAN}" * 300 for n in range(10)},
]


async def test_the_tables_accept_the_settings_that_the_rule_accepts(world: World) -> None:
    accepted = []
    for given in SETTINGS:
        try:
            profile_change({}, given).of(ProfileContent("Ada"))
            allowed = True
        except InvalidInput:
            allowed = False
        statement = f"SELECT {settings('CAST(CAST(:given AS text) AS jsonb)')}"
        [(by_table,)] = await world.rows("shard-1", statement, given=json.dumps(given))
        assert by_table == allowed, ascii(given)[:200]
        accepted.append(allowed)
    assert accepted.count(True) == 13
    for no_object in ("[]", "5", "null", '"a"'):
        statement = f"SELECT {settings('CAST(CAST(:given AS text) AS jsonb)')}"
        assert await world.rows("shard-1", statement, given=no_object) == [(False,)]
