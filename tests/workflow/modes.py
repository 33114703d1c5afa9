"""How a workflow's steps may be run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Mode:
    """`cached_workflows` 0: every workflow task replays the history from its start."""

    mode: Literal["local_first", "regular"]
    cached_workflows: int = 1000

    def __str__(self) -> str:
        return self.mode if self.cached_workflows else f"{self.mode}, no cache"

    @property
    def local_attempts(self) -> int:
        """How often a step that fails is tried before it becomes a regular activity."""
        return 2 if self.mode == "local_first" else 0


USUAL = Mode("local_first")
# For the tests that wait in the middle, where a replay and the other mode make a difference.
OTHERS = (Mode("regular"), Mode("local_first", cached_workflows=0))
WITHOUT_CACHE = (Mode("local_first", cached_workflows=0), Mode("regular", cached_workflows=0))
