"""From ids of activities and names of barrier rows back to the steps that they name: see `domain.steps`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from domain.orders import Style
from domain.steps import UNDO, Step

_STEPS = {str(step): step for step in Step}


@dataclass(frozen=True, slots=True)
class NamedStep:
    """A step of one saga, as an activity's id names it."""

    step: Step
    part: str | None = None


def without_round(activity_id: str) -> str:
    """The step's id, whichever of its activities this is."""
    return activity_id.partition("#")[0]


def parse_activity_id(activity_id: str) -> NamedStep | None:
    """None for one that names no step."""
    name, slash, rest = without_round(activity_id).partition("/")
    step = _STEPS.get(name)
    if step is None:
        return None
    undone_by = step.undone_by
    if step.declared.parts is None:
        if not slash:
            return NamedStep(step)
        return NamedStep(undone_by) if rest == UNDO and undone_by is not None else None
    if not slash:
        return None
    part, undoes, last = rest.rpartition("/")
    if undoes and last == UNDO:
        return NamedStep(undone_by, part) if undone_by is not None else None
    return NamedStep(step, rest)


def step_of_barrier(barrier_step: str, style: Style | None = None) -> NamedStep | None:
    """The step that writes this row, in a saga of this style if that is known; None for a row that no step writes."""
    name, slash, part = barrier_step.partition("/")
    found = [step for step in Step if step.barrier == name and step.undoes is None]
    step = next((each for each in found if style is not None and each.is_of(style)), found[0] if found else None)
    return NamedStep(step, part if slash else None) if step is not None else None


# ── several steps in one activity ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Carried:
    """A step that an activity carried out among others: `activity_id` names it, `answer` is its own.

    An activity that carries out several lists them under `STEPS_FIELD` of its result, so that each is shown, and joined
    with its row, as if it had an activity of its own.
    """

    activity_id: str
    answer: Any = None


STEPS_FIELD = "steps"


def carried_in(answer: Any) -> Iterable[Carried]:
    """The steps that an activity's result, as plain JSON, lists; none if it lists none."""
    listed = answer.get(STEPS_FIELD) if isinstance(answer, dict) else None
    return [Carried(**each) for each in listed or ()]
