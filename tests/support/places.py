"""For tests of names that several places must list: the failure says which place lacks which name."""

from __future__ import annotations

from collections.abc import Iterable


def assert_says_all(place: str, declared: Iterable[str], said: Iterable[str]) -> None:
    """`place` lists every one of `declared`, and nothing else."""
    missing, too_much = sorted(set(declared) - set(said)), sorted(set(said) - set(declared))
    assert not missing, f"{place} lacks {', '.join(missing)}"
    assert not too_much, f"{place} has {', '.join(too_much)}, which is not declared for it"
