"""Tells by name what was forgotten where, for tests of what has to be said in several places."""

from __future__ import annotations

from collections.abc import Iterable


def assert_says_all(place: str, declared: Iterable[str], said: Iterable[str]) -> None:
    """`place` says every one of `declared`, and nothing else."""
    missing, too_much = sorted(set(declared) - set(said)), sorted(set(said) - set(declared))
    assert not missing, f"{place} lacks {', '.join(missing)}"
    assert not too_much, f"{place} has {', '.join(too_much)}, which is not declared for it"
