"""The borders between the phases of a two-phase commit, where a process can die, and how the transfer then ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from domain.two_phase import Participant
from tests.faults.points import Attempt, Effect

SOURCE, TARGET = Participant.SOURCE, Participant.TARGET


@dataclass(frozen=True)
class PhaseBorder:
    """Just before or just after one activity's effect; after it, nobody knows of it yet.

    `votes_no`: the transfer is one that its source refuses, so that it is aborted. `is_decided`: the history or a row
    says commit or abort by then.
    """

    activity: str
    participant: Participant
    after: bool
    votes_no: bool = False
    is_decided: bool = False


# The source is on the shard that is prepared first.
BORDERS = {
    "after the first vote": PhaseBorder("prepare_participant", SOURCE, after=True),
    "between the votes": PhaseBorder("prepare_participant", TARGET, after=False),
    "after the second vote": PhaseBorder("prepare_participant", TARGET, after=True),
    "between the decision and the first commit": PhaseBorder(
        "commit_participant", SOURCE, after=False, is_decided=True
    ),
    "after the first commit": PhaseBorder("commit_participant", SOURCE, after=True, is_decided=True),
    "between the commits": PhaseBorder("commit_participant", TARGET, after=False, is_decided=True),
    "after the second commit": PhaseBorder("commit_participant", TARGET, after=True, is_decided=True),
    "between the decision and the first abort": PhaseBorder(
        "abort_participant", SOURCE, after=False, votes_no=True, is_decided=True
    ),
    "between the aborts": PhaseBorder("abort_participant", TARGET, after=False, votes_no=True, is_decided=True),
    "after the second abort": PhaseBorder("abort_participant", TARGET, after=True, votes_no=True, is_decided=True),
}


class PhaseWatcher:
    """Calls `reached` in each attempt that comes to its border."""

    def __init__(self, saga_id: str, border: PhaseBorder, reached: Callable[[str], Awaitable[None]]) -> None:
        self._saga_id = saga_id
        self._border = border
        self._reached = reached

    async def around(self, attempt: Attempt, effect: Effect) -> Any:
        border = self._border
        met = attempt.activity == border.activity and attempt.request.participant is border.participant
        if met and not border.after:
            await self._reached(self._saga_id)
        result = await effect()
        if met and border.after:
            await self._reached(self._saga_id)
        return result
