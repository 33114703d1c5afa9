"""Profiles: a customer's name, email and address, and settings of its own. The rules for all of them.

The tables of a shard check the same forms and limits: see `shards.tables.shard`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from domain.argument_types import check_collection
from domain.catalogue import check_name
from domain.choices import choice
from domain.errors import InvalidInput
from domain.identifiers import shown
from domain.limits import SETTING_CHARS_MAX, SETTING_NAME_CHARS_MAX, SETTINGS_BYTES_MAX, SETTINGS_MAX
from domain.text import check_text

_SETTING_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{SETTING_NAME_CHARS_MAX}}}", re.ASCII)


class OptionalField(StrEnum):
    """What a profile may be without. A customer always has a name."""

    EMAIL = "email"
    ADDRESS = "address"
    CITY = "city"
    POSTAL_CODE = "postal_code"
    COUNTRY = "country"


@dataclass(frozen=True, slots=True)
class ProfileContent:
    """`address`: street and number, or whatever comes before the city. `settings`: names and values are the callers'
    own."""

    name: str
    email: str | None = None
    address: str | None = None
    city: str | None = None
    postal_code: str | None = None
    country: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


TEXT_FIELDS = ("name", *OptionalField)


@dataclass(frozen=True, slots=True)
class ProfileChange:
    """What shall be other than it is: a field that is not in `fields` stays, None is removed; so in `settings`."""

    fields: Mapping[str, str | None] = field(default_factory=dict)
    settings: Mapping[str, str | None] = field(default_factory=dict)

    def of(self, before: ProfileContent) -> ProfileContent:
        """The profile after the change. `InvalidInput` naming `settings` if these would be too many or too long."""
        settings = {**before.settings, **self.settings}
        kept = {key: value for key, value in sorted(settings.items()) if value is not None}
        fields: dict[str, Any] = dict(self.fields)
        return replace(before, **fields, settings=check_settings(kept))

    def differing(self, before: ProfileContent) -> dict[str, object]:
        """Only what it changes, for the event."""
        fields = {name: text for name, text in self.fields.items() if getattr(before, name) != text}
        settings = {name: text for name, text in self.settings.items() if before.settings.get(name) != text}
        return {**fields, "settings": settings} if settings else dict(fields)


def profile_change(
    fields: Mapping[str, str | None],
    settings: Mapping[str, str | None] | None = None,
    clear: Iterable[OptionalField | str] = (),
) -> ProfileChange:
    """What a caller wants to change, or `InvalidInput` naming the field. None in `fields` stays as it is, None in
    `settings` is removed, and so is each field in `clear`."""
    wanted: dict[str, str | None] = {}
    for name, text in fields.items():
        if text is not None:
            wanted[name] = check_name(text, name)
    for each in _fields(clear):
        named = choice(OptionalField, each, "clear")
        if wanted.get(named) is not None:
            raise InvalidInput("clear", f"clear: expected no field that gets another value, got {named}")
        wanted[named] = None
    if not isinstance(settings, Mapping | None):
        raise InvalidInput("settings", f"settings: expected values by name, got {shown(settings)}")
    for setting, value in (settings or {}).items():
        check_setting(setting, value)
    return ProfileChange(wanted, dict(settings or {}))


def check_setting(name: object, value: object) -> None:
    """`InvalidInput` naming `settings` for a name or a value that no setting may have. None: it is removed."""
    if not isinstance(name, str) or _SETTING_NAME.fullmatch(name) is None:
        expected = f"names of 1 to {SETTING_NAME_CHARS_MAX} of letters, digits, '.', '_', '-'"
        raise InvalidInput("settings", f"settings: expected {expected}, got {shown(name)}")
    if value is None:
        return
    if not isinstance(value, str) or len(value) > SETTING_CHARS_MAX:
        expected = f"at most {SETTING_CHARS_MAX} characters as the value of {name}"
        raise InvalidInput("settings", f"settings: expected {expected}, got {shown(value)}")
    try:
        check_text(value)
    except ValueError as error:
        raise InvalidInput("settings", f"settings: in the value of {name}: {error}") from None


def check_settings(settings: Mapping[str, str]) -> Mapping[str, str]:
    """All settings of a profile together, each of which was checked; or `InvalidInput` naming `settings`."""
    if len(settings) > SETTINGS_MAX:
        raise InvalidInput("settings", f"settings: expected at most {SETTINGS_MAX}, got {len(settings)}")
    # As Postgres writes it too, whose tables count the same bytes.
    length = len(settings_text(settings).encode())
    if length > SETTINGS_BYTES_MAX:
        expected = f"at most {SETTINGS_BYTES_MAX} bytes of JSON together"
        raise InvalidInput("settings", f"settings: expected {expected}, got {length}")
    return settings


def settings_text(settings: Mapping[str, str]) -> str:
    return json.dumps(dict(settings), ensure_ascii=False)


def _fields(clear: Iterable[OptionalField | str]) -> Iterable[str]:
    return [clear] if isinstance(clear, str) else check_collection(clear, "clear", "fields of a profile")
