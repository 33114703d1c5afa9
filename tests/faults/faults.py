"""What can go wrong around one activity of a saga. Each fault says where it applies and how the saga must end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from temporalio.exceptions import ApplicationError

from activities.interfaces import DecideOrder
from domain.errors import Unreachable
from domain.sagas import Reason
from tests.faults.declared import COMPENSATIONS, DECLARED, Declared, Ending
from tests.faults.points import Attempt, Border, Effect

if TYPE_CHECKING:
    from tests.faults.saga import WatchedSaga

# Less than an attempt may take.
ZOMBIE_SECONDS_MAX = 3.0
MANY = 5
"""More attempts than are made locally: the rest are durable."""


class Fault(ABC):
    """Hits the attempts of one activity of one saga; the saga's other activities go through `beside`."""

    name: str
    terminates = False
    """The workflow is gone after it, until `recover` has found the order."""

    @property
    def kind(self) -> str:
        """Its name in the `never` of activities that it cannot hit."""
        return type(self).__name__

    def applies_to(self, activity: str) -> bool:
        """Whether it makes sense for this activity."""
        return True

    def endings(self, activity: str, natural: Ending) -> Iterable[Ending]:
        """How the saga may end. `natural`: how it ends when nothing goes wrong."""
        return (natural,)

    @abstractmethod
    async def around(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        """One attempt of the activity that it hits."""

    async def beside(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        """One attempt of any other activity."""
        return await effect()


def _declared(activity: str) -> Declared:
    return DECLARED[activity]


def _can_be_cancelled_by(way: str, activity: str) -> bool:
    """A transfer is cancelled by Temporal's own cancel only."""
    return way == "temporal" or not _declared(activity).is_of_transfers


async def _fail(border: Border) -> None:
    raise Unreachable("shard_unreachable", f"the connection broke {border}")


class Nothing(Fault):
    """No fault: the saga's order itself goes wrong."""

    name = "nothing"

    async def around(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        return await effect()


class Refuses(Nothing):
    """The order is one that the activity refuses, for this reason."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        self.name = f"refuses: {reason}"

    def endings(self, activity: str, natural: Ending) -> Iterable[Ending]:
        return (_declared(activity).refused(self.reason),)


class FailsAt(Fault):
    """The first `times` attempts fail at a border: rolled back before it, committed but not acknowledged after it."""

    def __init__(self, name: str, border: Border, times: int) -> None:
        self.name = name
        self._border = border
        self._times = times

    async def around(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        if saga.befallen > self._times:
            return await effect()
        if _declared(attempt.activity).commits_by_itself and self._border is Border.BEFORE:
            await _fail(self._border)

        async def stop_at(border: Border) -> None:
            if border is self._border:
                await _fail(border)

        attempt.stop_at = stop_at
        await effect()
        # An activity that gets here has no transaction to break: it reads, or commits by itself.
        raise ApplicationError("the answer was lost", type="shard_unreachable")


class RunsTwice(Fault):
    name = "runs twice"

    async def around(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        first = await effect()
        saga.expect_same(first, await effect())
        return first


class RunsTwiceAtOnce(Fault):
    name = "runs twice at the same moment"

    async def around(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        first, second = await asyncio.gather(effect(), effect())
        saga.expect_same(first, second)
        return first


class UndoComesFirst(Fault):
    """Null compensation, then hanging: the activity finds itself undone, and the saga aborts."""

    name = "its undo comes first"

    def applies_to(self, activity: str) -> bool:
        return _declared(activity).undone_by is not None

    def endings(self, activity: str, natural: Ending) -> Iterable[Ending]:
        return (_declared(activity).refused(Reason.ALREADY_COMPENSATED),)

    async def around(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        await saga.undo(attempt)
        return await effect()


class DoComesLate(Fault):
    """The attempt is slow, the saga is cancelled and undone meanwhile; then it commits after all, as nothing."""

    def __init__(self, way: str) -> None:
        self.name = f"its do comes late, after an undo by {way}"
        self._way = way

    @property
    def kind(self) -> str:
        return f"{type(self).__name__} by {self._way}"

    def applies_to(self, activity: str) -> bool:
        return _declared(activity).undone_by is not None and _can_be_cancelled_by(self._way, activity)

    def endings(self, activity: str, natural: Ending) -> Iterable[Ending]:
        return (_declared(activity).cancelled,)

    async def around(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        late = saga.in_background(self._late(saga, effect))
        if self._way == "update":
            saga.in_background(saga.cancel_by_update())
        else:
            await saga.cancel_by_temporal()
        return await asyncio.shield(late)

    async def _late(self, saga: WatchedSaga, effect: Effect) -> Any:
        await saga.undone.wait()
        answer = await effect()
        saga.expect_refused_as_undone(answer)
        return answer

    async def beside(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        result = await effect()
        if saga.is_undo_of_target(attempt):
            saga.undone.set()
        return result


class CommitsUnderItsUndo(Fault):
    """The saga is cancelled while the attempt stands before its commit, and it commits with its undo waiting for it."""

    name = "commits while its undo waits for it"

    def applies_to(self, activity: str) -> bool:
        return _declared(activity).undone_by is not None and not _declared(activity).commits_by_itself

    def endings(self, activity: str, natural: Ending) -> Iterable[Ending]:
        return (_declared(activity).cancelled,)

    async def around(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        if saga.befallen > 1:
            # A slow machine: the first attempt timed out. This one waits for the cancel too. Otherwise local activities
            # would take the saga to its decision in the same workflow task, before the cancel reaches it.
            await saga.undoing.wait()
            return await effect()

        async def stop_at(border: Border) -> None:
            if border is Border.BEFORE:
                saga.holding.set()
                await saga.waited_for()

        attempt.stop_at = stop_at
        # A task of its own: what a cancelled workflow does to its attempts must not roll this one back.
        return await asyncio.shield(saga.in_background(self._commit(saga, effect)))

    async def _commit(self, saga: WatchedSaga, effect: Effect) -> Any:
        """Begins when the undo is about to: a transaction is not left open for as long as a cancel may take."""
        await saga.cancel_by_temporal()
        await saga.undoing.wait()
        try:
            return await effect()
        except ApplicationError as error:
            if error.non_retryable:
                raise
            # On a machine this slow the server has ended the transaction while it was held. Like any attempt, it is
            # repeated, behind its undo now.
            return await effect()
        finally:
            saga.holding.set()

    async def beside(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        # If there is no order yet, the decision bars it from ever being opened.
        bars = (
            saga.aborting.is_set() and isinstance(attempt.request, DecideOrder) and saga.case.activity == "open_order"
        )
        if saga.befallen and (bars or saga.is_undo_of_target(attempt)):
            saga.undoing.set()
            await saga.holding.wait()
        return await effect()


class UndoFails(Fault):
    """Done, cancelled, and then the compensation fails five times: not begun, broken off, or its answer lost."""

    name = "its undo fails five times"

    def applies_to(self, activity: str) -> bool:
        return _declared(activity).undone_by is not None

    def endings(self, activity: str, natural: Ending) -> Iterable[Ending]:
        return (_declared(activity).cancelled,)

    async def around(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        result = await effect()
        await saga.cancel_by_temporal()
        # Held here, so that the saga does not come to its decision before the cancel does.
        await saga.aborting.wait()
        return result

    async def beside(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        if not saga.is_undo_of_target(attempt):
            return await effect()
        saga.undo_attempts += 1
        if saga.undo_attempts > MANY:
            return await effect()
        border = Border.AFTER if saga.undo_attempts % 2 else Border.BEFORE

        async def stop_at(reached: Border) -> None:
            if reached is border:
                await _fail(border)

        attempt.stop_at = stop_at
        return await effect()


class Zombie(Fault):
    """The first attempt outlives its time-out, and commits when the next one has already done so."""

    name = "outlives its time-out and commits as a zombie"

    async def around(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        if saga.befallen == 1:
            saga.zombie = saga.in_background(self._late(saga, effect))
            return await asyncio.shield(saga.zombie)
        saga.answer = await effect()
        saga.answered.set()
        # Before the workflow goes on: an answer says how the saga stands, which its next steps change.
        if saga.zombie is not None:
            await asyncio.wait([saga.zombie], timeout=ZOMBIE_SECONDS_MAX)
        return saga.answer

    async def _late(self, saga: WatchedSaga, effect: Effect) -> Any:
        await saga.answered.wait()
        late = await effect()
        saga.expect_same(saga.answer, late)
        return late


class Cancelled(Fault):
    """Cancelled at the activity's border, and again at each compensation."""

    def __init__(self, way: str, border: Border) -> None:
        self.name = f"cancelled by {way}, {border}"
        self._way = way
        self._border = border

    def applies_to(self, activity: str) -> bool:
        return _can_be_cancelled_by(self._way, activity)

    def endings(self, activity: str, natural: Ending) -> Iterable[Ending]:
        # Whether the cancel or the saga comes first to the row, the row decides; the answers must agree with it.
        return (natural, _declared(activity).cancelled)

    async def around(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        if saga.befallen > 1 and attempt.activity not in COMPENSATIONS:
            return await effect()
        if self._border is Border.BEFORE:
            await self._cancel(saga)
        result = await effect()
        if self._border is Border.AFTER:
            await self._cancel(saga)
        return result

    async def _cancel(self, saga: WatchedSaga) -> None:
        if self._way == "update":
            await saga.cancel_by_update()
        else:
            await saga.cancel_by_temporal()

    async def beside(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        if saga.befallen and attempt.activity in COMPENSATIONS:
            await saga.cancel_by_temporal()
            saga.in_background(saga.cancel_by_update())
        return await effect()


class WorkerDies(Nothing):
    """`kill -9` of the worker at the activity's border. The cancel, if any, comes before the next worker does."""

    def __init__(self, border: Border, way: str | None) -> None:
        self.name = f"its worker dies {border}" + (f", cancelled by {way} before another is up" if way else "")
        self.border = border
        self.way = way

    def applies_to(self, activity: str) -> bool:
        return self.way is None or _can_be_cancelled_by(self.way, activity)

    def endings(self, activity: str, natural: Ending) -> Iterable[Ending]:
        return (natural, _declared(activity).cancelled) if self.way else (natural,)


class Terminated(Fault):
    """Temporal's terminate at the activity's border: nothing is compensated. The attempt may still commit."""

    terminates = True

    def __init__(self, border: Border) -> None:
        self.name = f"terminated {border}, then recovered"
        self._border = border

    async def around(self, saga: WatchedSaga, attempt: Attempt, effect: Effect) -> Any:
        if saga.befallen > 1:
            return await effect()
        if self._border is Border.BEFORE:
            await saga.terminate()
            return await effect()
        result = await effect()
        await saga.terminate()
        return result


FAULTS: tuple[Fault, ...] = (
    FailsAt("fails before its commit", Border.BEFORE, 1),
    FailsAt("fails five times before its commit", Border.BEFORE, MANY),
    FailsAt("commits and loses the acknowledgement", Border.AFTER, 1),
    FailsAt("commits and loses the acknowledgement five times", Border.AFTER, MANY),
    RunsTwice(),
    RunsTwiceAtOnce(),
    UndoComesFirst(),
    *(DoComesLate(way) for way in ("update", "temporal")),
    CommitsUnderItsUndo(),
    UndoFails(),
    Zombie(),
    *(Cancelled(way, border) for way in ("update", "temporal") for border in Border),
    *(Terminated(border) for border in Border),
    *(WorkerDies(border, way) for border in Border for way in (None, "update", "temporal")),
)
