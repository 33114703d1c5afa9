"""The path of an order as the shards' rows prove it: what `order trace` shows if Temporal has forgotten it."""

from __future__ import annotations

from domain.sagas import Reason, Refusal
from shards.sagas.saga_rows import SagaRows, read_saga
from tests.support.world import SagaByHand, World
from tracing.documents import StepDocument, TraceDocument
from tracing.read import Evidence, document_of

CANCELLED = Refusal(Reason.CANCELLED, "cancelled before it was confirmed")


async def saga_on_two_shards(world: World, balance: str = "50.00", stock: int = 5) -> SagaByHand:
    customer = await world.customer(balance)
    near, far = await world.product("a", stock=stock), await world.product("z", stock=5)
    return await world.saga(world.order(customer, {near: 2, far: 3}))


async def trace_of(world: World, saga: SagaByHand, away: str | None = None) -> TraceDocument:
    rows: dict[str, SagaRows | None] = {}
    for name, shard in world.cluster.primaries.items():
        rows[name] = None if name == away else await read_saga(shard, saga.saga_id, saga.order.order_id)
    return document_of(Evidence(saga.order.order_id, [], rows))


def results(trace: TraceDocument) -> dict[str, str]:
    """By step and, of stock, its shard."""
    return {f"{step.name} {step.shard}" if "stock" in step.name else step.name: step.result for step in trace.steps}


def step(trace: TraceDocument, name: str) -> StepDocument:
    [found] = [each for each in trace.steps if each.name == name]
    return found


async def test_the_events_of_a_confirmed_order_come_in_the_order_of_its_commits(world: World) -> None:
    saga = await saga_on_two_shards(world)
    for work in (saga.open(), saga.reserve(0), saga.reserve(1), saga.decide()):
        await work
    for done in (saga.consume(1), saga.consume(0), saga.credit()):
        await done
    trace = await trace_of(world, saga)
    assert list(results(trace)) == [
        "claim_order_id",
        "open_order",
        "reserve_stock shard-1",
        "reserve_stock shard-3",
        "decide_order",
        "consume_stock shard-3",
        "consume_stock shard-1",
        "credit_merchant",
    ]
    assert set(results(trace).values()) == {"done"}
    assert (trace.status, trace.sources.temporal, trace.total) == ("confirmed", "forgotten", saga.total.amount)
    assert [each.at for each in [trace.decision] if each] == [step(trace, "decide_order").started_at]
    assert {tuple(each.rounds) for each in trace.steps} == {()}


async def test_a_refused_and_cancelled_order_shows_what_was_undone_and_what_never_was(world: World) -> None:
    saga = await saga_on_two_shards(world, stock=1)
    assert await saga.open() is None
    refused = await saga.reserve(0)
    assert refused is not None
    await saga.decide(refused)
    await saga.undo_all(refused)
    trace = await trace_of(world, saga)
    assert results(trace) == {
        "claim_order_id": "done",
        "open_order": "undone",
        "reserve_stock shard-1": "refused",
        "decide_order": "done",
        "release_stock shard-1": "nothing_to_undo",
        "release_stock shard-3": "nothing_to_undo",
        "abort_order": "done",
    }
    assert step(trace, "reserve_stock").reason == Reason.OUT_OF_STOCK
    assert (trace.status, trace.reason) == ("rejected", Reason.OUT_OF_STOCK)


async def test_an_order_that_was_decided_before_it_had_a_row_was_never_opened(world: World) -> None:
    saga = await saga_on_two_shards(world)
    await saga.decide(CANCELLED)
    await saga.undo_all(CANCELLED)
    trace = await trace_of(world, saga)
    assert "open_order" not in results(trace)
    assert trace.decision is not None
    assert (trace.decision.outcome, trace.decision.reason) == ("absent", Reason.CANCELLED)


async def test_an_order_half_done_is_pending_and_a_shard_away_is_named(world: World) -> None:
    saga = await saga_on_two_shards(world)
    await saga.open()
    await saga.reserve(1)
    whole = await trace_of(world, saga)
    assert (whole.status, whole.decision) == ("pending", None)
    owner = step(whole, "open_order").shard
    partial = await trace_of(world, saga, away=owner)
    assert partial.sources.shards[str(owner)] == "away"
    assert {each.shard for each in partial.steps} == {each.shard for each in whole.steps} - {owner}


async def test_a_shard_that_knows_nothing_of_it_has_no_rows(world: World) -> None:
    for shard in world.cluster.primaries.values():
        assert await read_saga(shard, "order/nobody-knows", "nobody-knows") == SagaRows(shard.name)
