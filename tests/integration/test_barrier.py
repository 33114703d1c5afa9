"""The barrier: each row of the table in `shards.sagas.barrier`, one call after the other and at the same moment."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable

import pytest
from pydantic import TypeAdapter
from sqlalchemy import text

from domain.errors import StaleRoute
from domain.money import Money
from domain.sagas import ALREADY_COMPENSATED, Reason, Refusal
from domain.shard_map import Keyspace, Route
from shards.routing.shard_transaction import ShardTransaction
from shards.sagas import barrier
from tests.support.world import RolledBack, World

STEP = "step"
NO = Refusal(Reason.OUT_OF_STOCK, "nothing left")
RESULT = TypeAdapter[Refusal | int | None](Refusal | int | None)

_sagas = (f"barrier/{n}" for n in itertools.count())


@pytest.fixture
async def route(world: World) -> Route:
    return await world.customer_route("anybody")


class Step:
    """A step with an effect that can be counted: each `do` and each `undo` leaves a row in the outbox."""

    def __init__(self, world: World, route: Route) -> None:
        self.world = world
        self.route = route
        self.saga_id = next(_sagas)

    async def do(self, answer: Refusal | int | None = 7) -> Refusal | int | None:
        async with self.world.transaction(self.route) as tx:
            return await self.do_in(tx, answer)

    async def undo(self, reason: Refusal | None = None) -> Refusal | None:
        async with self.world.transaction(self.route) as tx:
            return await self.undo_in(tx, reason)

    async def do_in(self, tx: ShardTransaction, answer: Refusal | int | None = 7) -> Refusal | int | None:
        async def effect() -> Refusal | int | None:
            await self._leave(tx, "done")
            return answer

        return await barrier.do_once(tx, self.saga_id, STEP, effect, RESULT)

    async def undo_in(self, tx: ShardTransaction, reason: Refusal | None = None) -> Refusal | None:
        return await barrier.undo_once(tx, self.saga_id, STEP, lambda: self._leave(tx, "undone"), reason)

    async def _leave(self, tx: ShardTransaction, kind: str) -> None:
        await tx.execute(
            text("""
                INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
                VALUES ('here', :saga_id, 'test', 'test', 1, :kind, '{}')
            """),
            saga_id=self.saga_id,
            kind=kind,
        )

    async def effects(self) -> list[str]:
        rows = await self.world.rows(
            self.route.shard, "SELECT kind FROM outbox WHERE saga_id = :s ORDER BY id", s=self.saga_id
        )
        return [kind for (kind,) in rows]

    async def barriers(self) -> list[str]:
        rows = await self.world.rows(
            self.route.shard, "SELECT op FROM barrier WHERE saga_id = :s ORDER BY op", s=self.saga_id
        )
        return [op for (op,) in rows]


@pytest.fixture
def step(world: World, route: Route) -> Step:
    return Step(world, route)


async def while_open(
    step: Step,
    first: Callable[[ShardTransaction], Awaitable[object]],
    second: Callable[[], Awaitable[Refusal | int | None]],
    commit: bool = True,
) -> Refusal | int | None:
    """The result of `second`, started while the transaction of `first` is still open."""

    with contextlib.suppress(RolledBack):
        async with step.world.transaction(step.route) as tx:
            await first(tx)
            later = asyncio.ensure_future(second())
            await step.world.until_waiting(step.route.shard)
            assert not later.done()
            if not commit:
                raise RolledBack
    return await later


async def rolled_back(step: Step, call: Callable[[ShardTransaction], Awaitable[object]]) -> None:
    with contextlib.suppress(RolledBack):
        async with step.world.transaction(step.route) as tx:
            await call(tx)
            raise RolledBack


# ── one after the other ─────────────────────────────────────────────────────────────────────────────────────


async def test_do_runs_the_effect_and_returns_its_result(step: Step) -> None:
    assert await step.do(7) == 7
    assert await step.effects() == ["done"]


async def test_do_again_returns_the_stored_result_whatever_it_would_return_now(step: Step) -> None:
    await step.do(7)
    assert await step.do(8) == 7
    assert await step.effects() == ["done"]


@pytest.mark.parametrize(
    "answer", [None, 0, -1, 2**53 + 1, NO, Refusal(Reason.UNKNOWN_SKU, "Ünïcode \u2028 “quotes” \\ '")]
)
async def test_results_and_refusals_come_back_as_they_were_stored(step: Step, answer: Refusal | int | None) -> None:
    assert await step.do(answer) == answer
    assert await step.do(99) == answer


async def test_money_comes_back_to_the_cent(world: World, route: Route) -> None:
    amount, saga_id, stored = Money(-(10**15) + 1, "USD"), next(_sagas), TypeAdapter[Money](Money)

    async def effect() -> Money:
        return amount

    for _ in range(2):
        async with world.transaction(route) as tx:
            assert await barrier.do_once(tx, saga_id, STEP, effect, stored) == amount


async def test_undo_runs_the_compensation_once(step: Step) -> None:
    await step.do()
    await step.undo()
    await step.undo()
    assert await step.effects() == ["done", "undone"]


async def test_undo_before_do_compensates_nothing(step: Step) -> None:
    await step.undo()
    assert await step.effects() == []
    assert await step.barriers() == ["do", "undo"]


async def test_do_after_undo_never_runs(step: Step) -> None:
    await step.undo()
    assert await step.do() == ALREADY_COMPENSATED
    await step.undo()
    assert await step.effects() == []


async def test_do_after_do_and_undo_never_returns_the_stored_ok(step: Step) -> None:
    await step.do(7)
    await step.undo()
    assert await step.do(7) == ALREADY_COMPENSATED
    assert await step.effects() == ["done", "undone"]


async def test_a_refused_step_is_compensated_too_and_then_returns_that_it_was(step: Step) -> None:
    assert await step.do(NO) == NO
    await step.undo()
    assert await step.do(NO) == ALREADY_COMPENSATED


async def test_the_first_reason_of_an_undo_stays(step: Step) -> None:
    assert await step.undo(NO) == NO
    assert await step.undo(Refusal(Reason.CANCELLED, "too late")) == NO
    assert await step.undo() == NO


async def test_other_steps_and_other_sagas_are_not_touched(world: World, route: Route, step: Step) -> None:
    other = Step(world, route)
    await step.undo()
    assert await other.do(7) == 7


# ── what did not commit did not happen; what did, did ───────────────────────────────────────────────────────


async def test_a_rolled_back_do_leaves_nothing_and_may_run_again(step: Step) -> None:
    await rolled_back(step, step.do_in)
    assert await step.barriers() == []
    assert await step.do(8) == 8
    assert await step.effects() == ["done"]


async def test_a_rolled_back_undo_leaves_the_step_done(step: Step) -> None:
    await step.do(7)
    await rolled_back(step, step.undo_in)
    assert await step.do(8) == 7
    await step.undo()
    assert await step.effects() == ["done", "undone"]


# ── at the same moment ──────────────────────────────────────────────────────────────────────────────────────


async def test_of_many_dos_at_once_one_runs_and_all_answer_the_same(step: Step) -> None:
    answers = await asyncio.gather(*(step.do(n) for n in range(6)))
    assert len(set(answers)) == 1
    assert await step.effects() == ["done"]


async def test_of_many_undos_at_once_one_compensates(step: Step) -> None:
    await step.do()
    reasons = [Refusal(Reason.CANCELLED, str(n)) for n in range(6)]
    answers = await asyncio.gather(*(step.undo(reason) for reason in reasons))
    assert len(set(answers)) == 1
    assert await step.effects() == ["done", "undone"]


async def test_many_dos_and_undos_at_once_leave_the_step_undone(step: Step) -> None:
    answers = await asyncio.gather(*(step.do(7) if n % 2 else step.undo() for n in range(8)))
    assert set(answers) <= {7, None, ALREADY_COMPENSATED}
    assert await step.effects() in ([], ["done", "undone"])
    assert await step.do(7) == ALREADY_COMPENSATED


async def test_do_waits_for_the_do_in_flight_and_returns_its_result(step: Step) -> None:
    assert await while_open(step, lambda tx: step.do_in(tx, 7), lambda: step.do(8)) == 7
    assert await step.effects() == ["done"]


async def test_do_runs_itself_when_the_do_in_flight_rolls_back(step: Step) -> None:
    assert await while_open(step, lambda tx: step.do_in(tx, 7), lambda: step.do(8), commit=False) == 8
    assert await step.effects() == ["done"]


async def test_undo_waits_for_the_zombie_in_flight_and_compensates_it(step: Step) -> None:
    await while_open(step, lambda tx: step.do_in(tx, 7), step.undo)
    assert await step.effects() == ["done", "undone"]
    assert await step.do(7) == ALREADY_COMPENSATED


async def test_undo_compensates_nothing_when_the_zombie_rolls_back(step: Step) -> None:
    await while_open(step, lambda tx: step.do_in(tx, 7), step.undo, commit=False)
    assert await step.effects() == []
    assert await step.do(7) == ALREADY_COMPENSATED


async def test_do_waits_for_the_undo_in_flight_and_does_nothing(step: Step) -> None:
    assert await while_open(step, step.undo_in, lambda: step.do(7)) == ALREADY_COMPENSATED
    assert await step.effects() == []


async def test_do_runs_when_the_undo_in_flight_rolls_back(step: Step) -> None:
    assert await while_open(step, step.undo_in, lambda: step.do(7), commit=False) == 7
    assert await step.effects() == ["done"]


async def test_do_again_waits_for_the_undo_of_a_done_step_or_answers_before_it(step: Step) -> None:
    await step.do(7)
    async with step.world.transaction(step.route) as tx:
        await step.undo_in(tx)
        assert await step.do(8) == 7  # the undo is not there before it commits
    assert await step.do(8) == ALREADY_COMPENSATED


async def test_the_second_undo_waits_for_the_first_and_takes_over_when_that_rolls_back(step: Step) -> None:
    await step.do()
    await while_open(step, step.undo_in, step.undo, commit=False)
    assert await step.effects() == ["done", "undone"]


# ── a stale route writes nothing ────────────────────────────────────────────────────────────────────────────


def _unknown(route: Route) -> Route:
    return Route(route.shard, Keyspace.SKU_RANGE, "nobody's", route.version)


def _older(route: Route) -> Route:
    return Route(route.shard, route.keyspace, route.slot, 0)


@pytest.mark.parametrize("stale", [_unknown, _older])
@pytest.mark.parametrize("call", ["do", "undo"])
async def test_a_stale_route_writes_nothing(step: Step, stale: Callable[[Route], Route], call: str) -> None:
    true_route, step.route = step.route, stale(step.route)
    with pytest.raises(StaleRoute):
        await getattr(step, call)()
    step.route = true_route
    assert await step.effects() == []
    assert await step.barriers() == []


@pytest.mark.parametrize("call", ["do", "undo"])
async def test_a_fenced_slot_is_refused_until_it_is_owned_again(step: Step, call: str) -> None:
    change = "UPDATE ownership SET state = :state WHERE keyspace = 'bucket' AND slot = :slot"
    await step.world.rows(step.route.shard, change, state="fenced", slot=step.route.slot)
    with pytest.raises(StaleRoute):
        await getattr(step, call)()
    assert await step.barriers() == []
    await step.world.rows(step.route.shard, change, state="owned", slot=step.route.slot)
    await getattr(step, call)()
    assert await step.barriers() != []


async def test_a_newer_map_than_the_slot_s_is_welcome(step: Step) -> None:
    step.route = Route(step.route.shard, step.route.keyspace, step.route.slot, step.route.version + 100)
    assert await step.do(7) == 7
