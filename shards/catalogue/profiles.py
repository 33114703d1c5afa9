"""Profiles of customers: name, email, address and settings, in the customer's row, under its one version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import text

from domain.errors import InvalidInput, NotFound, ShardwiseError, Unreachable
from domain.events import CustomerEvent
from domain.profiles import TEXT_FIELDS, ProfileChange, ProfileContent, settings_text
from shards.connections.database_errors import DatabaseFailure
from shards.outbox.appending import append_event
from shards.routing.router import Reads, Router
from shards.routing.shard_transaction import ShardTransaction

_COLUMNS = ", ".join(TEXT_FIELDS)
_READ = f"SELECT {_COLUMNS}, CAST(settings AS text) AS settings, version FROM customer WHERE id = :id"
_SHOW = text(_READ)
# NO KEY, so that inserts of orders that refer to the row need not wait.
_LOCK = text(f"{_READ} FOR NO KEY UPDATE")
_CHANGE = text(f"""
    UPDATE customer SET {", ".join(f"{name} = :{name}" for name in TEXT_FIELDS)},
        settings = CAST(CAST(:settings AS text) AS jsonb), version = version + 1
    WHERE id = :id RETURNING version
""")


@dataclass(frozen=True, slots=True)
class Profile:
    """`version` grows with each change. Settings come in the order of their names."""

    customer_id: str
    name: str
    email: str | None
    address: str | None
    city: str | None
    postal_code: str | None
    country: str | None
    settings: Mapping[str, str]
    version: int
    shard: str


@dataclass(frozen=True, slots=True)
class ChangedProfile(Profile):
    """`changed`: by this call."""

    changed: bool


async def read_profile(reads: Reads, customer_id: str) -> Profile:
    """`NotFound` with `unknown_customer`."""

    async def read(tx: ShardTransaction) -> Profile:
        row = (await tx.execute(_SHOW, id=customer_id)).one_or_none()
        if row is None:
            raise _unknown(customer_id)
        return Profile(customer_id, **asdict(_content(row)), version=row.version, shard=tx.route.shard)

    return await reads.read(lambda m: m.of_customer(customer_id), read)


async def change_profile(router: Router, customer_id: str, change: ProfileChange) -> ChangedProfile:
    """Makes the profile what the change says, in one transaction with one event.

    Idempotent: if nothing differs, nothing is changed and no event is appended. Undone by changing it back. A crash
    leaves all of it or nothing. `NotFound` with `unknown_customer`; `InvalidInput` if it would have too many settings;
    `Unreachable` with `customer_busy`, nothing changed, if the row was locked for too long.
    """

    async def apply(tx: ShardTransaction) -> ChangedProfile | ShardwiseError:
        """Returns a refusal instead of raising it: it counts only if the shard owns the key, which is checked last."""
        row = (await tx.execute(_LOCK, id=customer_id)).one_or_none()
        if row is None:
            return _unknown(customer_id)
        before, version = _content(row), row.version
        try:
            after = change.of(before)
        except InvalidInput as refused:
            return refused
        if changed := after != before:
            columns = {**asdict(after), "settings": settings_text(after.settings)}
            version = (await tx.execute(_CHANGE, id=customer_id, **columns)).scalar_one()
            what = change.differing(before)
            append_event(tx, f"customer/{customer_id}", CustomerEvent.PROFILE_CHANGED, customer_id, version, **what)
        return ChangedProfile(customer_id, **asdict(after), version=version, shard=tx.route.shard, changed=changed)

    try:
        answer = await router.write(lambda m: m.of_customer(customer_id), apply)
    except DatabaseFailure as failure:
        message = f"customer {customer_id} was not changed ({failure.message}): try again"
        raise Unreachable("customer_busy", message) from failure
    if isinstance(answer, ShardwiseError):
        raise answer
    return answer


def _content(row: Any) -> ProfileContent:
    texts = {name: getattr(row, name) for name in TEXT_FIELDS}
    return ProfileContent(**texts, settings=dict(sorted(json.loads(row.settings).items())))


def _unknown(customer_id: str) -> NotFound:
    return NotFound("unknown_customer", f"there is no customer {customer_id}", "customer_id")
