"""One form of time in everything that a command prints."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import BaseModel

import cli
import contrast
import shards
import shardwise
from domain.periods import parse_start
from domain.timestamps import Timestamp, short_timestamp, timestamp
from shards.audit.local.rules import json_row

AT = datetime(2026, 1, 31, 16, 30, tzinfo=timezone(timedelta(hours=2)))


class Document(BaseModel):
    at: Timestamp
    until: Timestamp | None = None


def test_it_is_utc_with_a_z_and_always_as_exact() -> None:
    assert timestamp(AT) == "2026-01-31T14:30:00.000000Z"
    assert timestamp(AT.replace(microsecond=120)) == "2026-01-31T14:30:00.000120Z"
    assert short_timestamp(AT.replace(microsecond=999_999)) == "2026-01-31T14:30:00Z"
    assert Document(at=AT).model_dump(mode="json") == {"at": "2026-01-31T14:30:00.000000Z", "until": None}
    assert json_row({"created_at": AT}) == {"created_at": "2026-01-31T14:30:00.000000Z"}


@pytest.mark.parametrize("form", [timestamp, short_timestamp])
def test_what_is_printed_can_be_typed(form: Any) -> None:
    assert parse_start(form(AT), "since") == AT.astimezone(UTC)


def _documents() -> Iterator[type[BaseModel]]:
    packages = (cli, contrast, shards, shardwise)
    for package in packages:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found = BaseModel.__subclasses__()
    while found:
        each = found.pop()
        found += each.__subclasses__()
        if each.__module__.partition(".")[0] in {package.__name__ for package in packages}:
            yield each


def _bare_times(hint: Any) -> bool:
    """Whether it holds a time anywhere that would be written otherwise."""
    if hint is datetime:
        return True
    return hint != Timestamp and any(_bare_times(part) for part in get_args(hint))


def test_every_document_writes_it_so() -> None:
    documents = list(_documents())
    assert len(documents) > 20
    bare = {
        f"{each.__name__}.{name}"
        for each in documents
        for name, hint in get_type_hints(each, include_extras=True).items()
        if _bare_times(hint)
    }
    assert bare == set()
