"""Profiles of customers: name, email, address and free settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from domain.identifiers import check_identifier
from domain.profiles import OptionalField, profile_change
from shards.catalogue.profiles import ChangedProfile, Profile, change_profile, read_profile
from shardwise.connections import Installation
from shardwise.reading import Consistency, Reading

__all__ = ["ChangedProfile", "OptionalField", "Profile", "Profiles"]


class Profiles:
    """Raises `NotFound` with `unknown_customer`, `InvalidInput` naming the field, and `Unreachable` if the shard is
    down."""

    def __init__(self, installation: Installation, reading: Reading) -> None:
        self._installation = installation
        self._reading = reading

    async def show(self, customer_id: str, consistency: Consistency = None) -> Profile:
        """As its shard has it. With a session at least what the session wrote, else perhaps a moment old, unless
        another level is named."""
        check_identifier(customer_id, "customer_id")
        return await read_profile(self._reading.following(consistency), customer_id)

    async def set(
        self,
        customer_id: str,
        name: str | None = None,
        email: str | None = None,
        address: str | None = None,
        city: str | None = None,
        postal_code: str | None = None,
        country: str | None = None,
        settings: Mapping[str, str | None] | None = None,
        clear: Iterable[OptionalField | str] = (),
    ) -> ChangedProfile:
        """Changes what is given, all of it at once, and leaves the rest: a field that is None stays, one in `clear` is
        removed; of `settings` a value is set, None removes it.

        Idempotent: if nothing differs, nothing is changed and the version stays. Undone by setting it back. A crash
        leaves all of it or nothing. `Unreachable` with `customer_busy`: the row was locked for too long, and nothing
        was changed.
        """
        check_identifier(customer_id, "customer_id")
        fields = {
            "name": name,
            "email": email,
            "address": address,
            "city": city,
            "postal_code": postal_code,
            "country": country,
        }
        change = profile_change(fields, settings, clear)
        changed = await change_profile(self._installation.with_timeouts.router, customer_id, change)
        await self._reading.wrote(lambda m: [m.of_customer(customer_id)])
        return changed
