"""A foreign top-level package called `workflows` would shadow ours in an editable install: it must not."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = (
    "domain",
    "shards",
    "stack",
    "activities",
    "workflows",
    "workers",
    "tracing",
    "shardwise",
    "contrast",
    "cli",
    "migrations",
)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_comes_from_this_repository(package: str) -> None:
    file = importlib.import_module(package).__file__
    assert file is not None
    assert Path(file).resolve() == REPOSITORY / package / "__init__.py"


def test_every_package_that_is_shipped_is_checked() -> None:
    found = {file.parent.name for file in REPOSITORY.glob("*/__init__.py")} - {"tests", "bench"}
    assert found == set(PACKAGES)
