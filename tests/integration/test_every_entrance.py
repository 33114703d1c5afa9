"""The contract, driven by a client that has JSON and no class of ours; and all starts that it does not allow.

One installation for the whole file: three shards, a Temporal server, a worker on every queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.common import RawValue, SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError

from cli.demo.sample_files import sample_customers, sample_products
from domain.choreography import REACTIONS, Reactor, reactor_id
from domain.money import Money
from domain.transfers import Transfer
from shards.audit.audit import Audit
from shards.catalogue.imports import import_customers, import_products
from shards.connections.cluster import Cluster
from shardwise.temporal.refused_starts import list_refused
from shardwise.temporal.states import TemporalWorkflowStates
from stack.embedded.waiting import attempts
from stack.settings import Settings
from tests.support.batches import BatchByHand
from tests.support.contract import Block, Start, blocks, matches, start_of, starts
from tests.support.mutations import mutations
from tests.support.postgres import lasting_databases
from tests.support.temporal import course_of, scratch_temporal
from tests.support.world import World
from workers.run import HOSTED, new_worker
from workflows.entrance.entrances import ENTRANCES
from workflows.entrance.refused_start import REFUSED

T = TypeVar("T")

SECONDS_MAX = 30
# By the server's clock, from a workflow's start to its end, forty at once.
REFUSED_WITHIN = timedelta(seconds=10)
# A Temporal server that is starved of CPU can lose a task on its way to the worker, and gives it again after this time;
# without it, after ten seconds.
TASK_TIMEOUT = timedelta(seconds=2)
AT_ONCE_MAX = 40
UNHANDLED_FAILURE = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE
# The code of temporalio's "Potential deadlock detected".
NO_PROCESSOR = "TMPRL1101"
LISTED = f"{REFUSED.name} IS NOT NULL"
TABLES = """
    SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1
"""


@dataclass(frozen=True)
class Entrances:
    """`client` is a plain one, with Temporal's own converter."""

    client: Client
    world: World

    async def start(self, start: Start) -> WorkflowHandle[Any, Any]:
        arguments = [] if start.document is None else [start.document]
        return await self.client.start_workflow(
            start.workflow_type, args=arguments, id=start.workflow_id, task_queue=start.queue
        )

    async def start_raw(self, start: Start, payloads: Iterable[Payload]) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(
            start.workflow_type,
            args=[RawValue(payload) for payload in payloads],
            id=start.workflow_id,
            task_queue=start.queue,
            task_timeout=TASK_TIMEOUT,
        )

    async def rows(self) -> dict[str, int]:
        """The number of rows of every table of every database."""
        counted = {}
        for database in self.world.cluster.databases:
            async with database.transaction() as connection:
                for table in (await connection.exec_driver_sql(TABLES)).scalars().all():
                    count = (await connection.exec_driver_sql(f"SELECT count(*) FROM {table}")).scalar_one()
                    counted[f"{database.name}: {table}"] = count
        return counted


@pytest.fixture(scope="module")
async def entrances(
    postgres_server: str, migrated_templates: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Entrances]:
    settings = Settings(workflow_sandbox=False)
    async with (
        scratch_temporal(tmp_path_factory.mktemp("temporal")) as client,
        lasting_databases(postgres_server, migrated_templates) as made,
        Cluster(made.shards, made.catalog, made.read_model, pool_size=8) as cluster,
        contextlib.AsyncExitStack() as workers,
    ):
        world = World(cluster)
        await import_products(world.router, sample_products())
        await import_customers(world.router, sample_customers())
        for queue in HOSTED:
            await workers.enter_async_context(new_worker(client, world.router, settings, queue))
        plain = await Client.connect(client.service_client.config.target_host)
        yield Entrances(plain, world)


async def within(work: Awaitable[T]) -> T:
    async with asyncio.timeout(SECONDS_MAX):
        return await work


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async for _ in attempts(SECONDS_MAX):
        if await holds():
            return
    raise AssertionError("it does not come to that")


# ── the contract ────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_contract_is_what_a_plain_client_gets(entrances: Entrances) -> None:
    """Every block of the page in turn, but for those that installations start themselves."""
    lasting = [
        Start("InDoubtSweeper", "transfers", "in-doubt-sweeper", {}),
        *(
            Start("OutboxRelay", "outbox", f"outbox-relay/{each}", {"shard": each})
            for each in entrances.world.cluster.primaries
        ),
    ]
    following = [await entrances.start(each) for each in lasting]
    await _stage_payroll(entrances)
    said = 0
    for block in blocks():
        said += await _say(entrances, block)
    assert said == len([each for each in blocks() if each.about[0] != "start"])
    for each in following:
        assert (await each.describe()).status is WorkflowExecutionStatus.RUNNING
        await each.terminate()
    assert await entrances.world.violations() == []


async def _say(entrances: Entrances, block: Block) -> bool:
    """Returns whether the block shows something that comes back."""
    match block.about:
        case ("start", _, queue, workflow_id):
            if queue in ("orders", "transfers") and workflow_id != "in-doubt-sweeper":
                await entrances.start(start_of(block))
        case ("result", workflow_id):
            got = await within(entrances.client.get_workflow_handle(workflow_id).result())
            assert matches(block.document, got), got
            if workflow_id.startswith("order-placement/"):
                order_id = workflow_id.removeprefix("order-placement/")
                await until(lambda: _is_confirmed(entrances, order_id))
        case ("update", workflow_id, name):
            await until(lambda: _is_in_its_window(entrances, workflow_id))
            got = await within(entrances.client.get_workflow_handle(workflow_id).execute_update(name))
            assert matches(block.document, got), got
        case ("failure", workflow_id):
            assert await _failure(entrances.client.get_workflow_handle(workflow_id)) == block.document
    return block.about[0] != "start"


async def _is_confirmed(entrances: Entrances, order_id: str) -> bool:
    return await entrances.world.everywhere("SELECT state FROM orders WHERE id = :id", id=order_id) == [("confirmed",)]


async def _is_in_its_window(entrances: Entrances, saga_id: str) -> bool:
    return len(await entrances.world.everywhere("SELECT sku FROM reservation WHERE saga_id = :id", id=saga_id)) == 1


async def _stage_payroll(entrances: Entrances) -> None:
    lines = [("a", "ada", "alan", "1.00"), ("b", "grace", "alan", "999.00"), ("c", "alan", "ada", "2.00")]
    transfers = [Transfer(name, source, target, Money.parse(sum_, "USD")) for name, source, target, sum_ in lines]
    await BatchByHand(entrances.world, transfers, "payroll").stage()


async def _failure(handle: WorkflowHandle[Any, Any]) -> dict[str, Any]:
    with pytest.raises(WorkflowFailureError) as failed:
        await within(handle.result())
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError), cause
    assert cause.non_retryable
    return {"type": cause.type, "message": cause.message, "details": list(cause.details)}


# ── whatever else may be started ────────────────────────────────────────────────────────────────────────────


def payload(document: Any, encoding: str = "json/plain") -> Payload:
    return Payload(metadata={"encoding": encoding.encode()}, data=json.dumps(document).encode())


GOOD = {each.workflow_type: each for each in reversed(starts()) if each.workflow_id != "order/web-1000"}
# The fields that name a start, and differ in each.
NAMED = ("web-1001", "web-1003", "web-1004", "rent-1", "payroll", "shard-1")
BY_ITSELF = ("OutboxRelay", "ReadModelRebuild", "InDoubtSweeper", "InDoubtRecovery")


def of_every_type() -> list[Start]:
    event = GOOD["ReserveStock"].document
    kinds = {reactor: kind for kind, reactors in REACTIONS.items() for reactor in reactors}
    reacting = [
        Start(each.workflow_type, each.service, reactor_id(each, "web-1004", 1), {**event, "kind": kinds[each]})
        for each in Reactor
    ]
    sweep = Start("InDoubtRecovery", "transfers", "in-doubt-recovery", None)
    return [*(each for name, each in GOOD.items() if name != "ReserveStock"), *reacting, sweep]


@dataclass(frozen=True)
class Bad:
    what: str
    start: Start
    payloads: list[Payload]


def numbered(start: Start, n: int) -> Start:
    """A start of its own, so that all can run at once."""
    workflow_id, document = start.workflow_id, json.dumps(start.document)
    if start.workflow_type not in BY_ITSELF:
        name = next(name for name in NAMED if name in workflow_id)
        workflow_id, document = workflow_id.replace(name, f"bad-{n}"), document.replace(name, f"bad-{n}")
    return replace(start, workflow_id=workflow_id, document=json.loads(document))


def broken_arguments(start: Start) -> list[tuple[str, list[Payload]]]:
    good = payload(start.document)
    text = good.data
    found = [
        ("two arguments", [good, good]),
        ("a null more", [good, payload(None)]),
        ("binary", [Payload(metadata={"encoding": b"binary/plain"}, data=text)]),
        ("nothing, as binary", [Payload(metadata={"encoding": b"binary/null"})]),
        ("protobuf", [payload(start.document, "json/protobuf")]),
        ("an unknown encoding", [payload(start.document, "json/encrypted")]),
        ("no encoding", [Payload(data=text)]),
        ("no JSON", [Payload(metadata={"encoding": b"json/plain"}, data=b"{")]),
        ("no UTF-8", [Payload(metadata={"encoding": b"json/plain"}, data=b'{"\xff": 1}')]),
        ("nested too deeply", [Payload(metadata={"encoding": b"json/plain"}, data=b"[" * 100_000)]),
        (
            "a field twice",
            [Payload(metadata={"encoding": b"json/plain"}, data=text[:1] + b'"x": 1, "x": 1, ' + text[1:])],
        ),
    ]
    return found if start.document is None else [("no argument", []), *found]


def all_bad() -> list[Bad]:
    found: list[Bad] = []
    reactors = [each for each in of_every_type() if each.workflow_type in {r.workflow_type for r in Reactor}]
    for start in of_every_type():
        for what, _ in broken_arguments(start):
            own = numbered(start, len(found))
            found.append(Bad(what, own, dict(broken_arguments(own))[what]))
        own = numbered(start, len(found))
        given = [] if start.document is None else [payload(own.document)]
        found.append(Bad("another id", replace(own, workflow_id=f"{own.workflow_id.replace('-', '_')}x"), given))
        request = ENTRANCES[start.workflow_type].request
        for n, (what, document) in enumerate(mutations(request, start.document) if request is not None else ()):
            # All reactors take the same input, so they share its mutations.
            if start in reactors and n % len(reactors) != reactors.index(start):
                continue
            own = numbered(replace(start, document=document), len(found))
            found.append(Bad(what, own, [payload(own.document)]))
    return found


async def refused(entrances: Entrances, bad: Bad) -> str:
    """The message with which it was refused."""
    failure = await _failure(await entrances.start_raw(bad.start, bad.payloads))
    assert failure["type"] == "invalid_input", (bad, failure)
    assert failure["message"]
    assert failure["message"].isprintable(), bad
    return str(failure["message"])


async def test_a_start_that_no_rule_allows_is_refused_and_leaves_nothing(entrances: Entrances) -> None:
    before = await entrances.rows()
    turns = asyncio.Semaphore(AT_ONCE_MAX)
    alone = {name: asyncio.Lock() for name in BY_ITSELF}

    async def in_turn(bad: Bad) -> None:
        async with alone.get(bad.start.workflow_type, turns):
            await within(refused(entrances, bad))

    bad = all_bad()
    assert {each.start.workflow_type for each in bad} == ENTRANCES.keys()
    await asyncio.gather(*map(in_turn, bad))
    assert await entrances.rows() == before
    await _assert_verified(entrances)
    await until(lambda: _are_listed(entrances, len(bad)))
    ended = [each async for each in entrances.client.list_workflows(LISTED)]
    too_late = [(each.id, each.run_id) for each in ended if lasted(each) > REFUSED_WITHIN]
    assert [
        (each, await course_of(entrances.client.get_workflow_handle(each[0], run_id=each[1]))) for each in too_late
    ] == []


async def _are_listed(entrances: Entrances, count: int) -> bool:
    return (await entrances.client.count_workflows(LISTED)).count >= count


def lasted(refused_one: WorkflowExecution) -> timedelta:
    assert refused_one.close_time is not None
    return refused_one.close_time - refused_one.start_time


async def _assert_verified(entrances: Entrances) -> None:
    """By the rows and by every workflow, those that were refused included."""
    audit = Audit(entrances.world.cluster, TemporalWorkflowStates(entrances.client), lambda *_: None)
    await audit.check_sagas()
    assert audit.abandoned == {}
    assert [each.violations for each in audit.findings.by_check.values() if each.violations] == []
    assert audit.in_flight.sagas == set()


async def test_the_id_of_a_refused_start_is_free(entrances: Entrances) -> None:
    good = numbered(GOOD["OrderSaga"], 1_000_000)
    with_nothing = replace(good, document={"order": {**good.document["order"], "lines": []}})
    assert "expected 1 to 1000 lines" in await refused(
        entrances, Bad("no lines", with_nothing, [payload(with_nothing.document)])
    )
    listed = await list_refused(entrances.client)
    async for _ in attempts(SECONDS_MAX):
        if listed and listed[0].workflow_id == good.workflow_id:
            break
        listed = await list_refused(entrances.client)
    assert listed[0].fault.field == "order.lines"
    result = await within((await entrances.start(good)).result())
    assert result["status"] == "confirmed"
    await _assert_verified(entrances)


async def test_an_update_that_comes_with_a_refused_start_is_refused_alike(entrances: Entrances) -> None:
    start = numbered(GOOD["OrderSaga"], 1_000_001)
    begin = WithStartWorkflowOperation(
        "OrderSaga",
        {"order": {**start.document["order"], "lines": []}},
        id=start.workflow_id,
        task_queue=start.queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await within(entrances.client.execute_update_with_start_workflow("cancel", start_workflow_operation=begin))
    cause = refused.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, list(cause.details)) == ("invalid_input", [{"field": "order.lines"}])


async def test_a_start_with_a_cron_schedule_is_reported_to_be_refused_again_and_again(entrances: Entrances) -> None:
    start = numbered(GOOD["OrderSaga"], 1_000_002)
    document = {"order": {**start.document["order"], "lines": []}}
    handle = await entrances.client.start_workflow(
        "OrderSaga", document, id=start.workflow_id, task_queue=start.queue, cron_schedule="@every 1s"
    )

    async def reported() -> list[str]:
        found = await list_refused(entrances.client)
        return [each.fault.message for each in found if each.workflow_id == start.workflow_id]

    async def is_refused_again() -> bool:
        query = f'WorkflowId = "{start.workflow_id}" AND ExecutionStatus = "Failed"'
        return (await entrances.client.count_workflows(query)).count > 1

    await until(is_refused_again)
    [message] = await reported()
    assert "it begins again by its cron schedule '@every 1s', until `temporal workflow terminate" in message
    await entrances.client.get_workflow_handle(handle.id).terminate()
    assert await reported() == []


async def test_a_search_attribute_that_a_client_has_set_makes_no_refused_start(entrances: Entrances) -> None:
    start = numbered(GOOD["OrderSaga"], 1_000_003)
    handle = await entrances.client.start_workflow(
        "OrderSaga",
        start.document,
        id=start.workflow_id,
        task_queue=start.queue,
        search_attributes=TypedSearchAttributes([SearchAttributePair(REFUSED, "invalid_input")]),
    )
    assert (await within(handle.result()))["status"] == "confirmed"
    listed = f'{REFUSED.name} IS NOT NULL AND WorkflowId = "{start.workflow_id}" AND ExecutionStatus = "Completed"'

    async def is_listed() -> bool:
        return (await entrances.client.count_workflows(listed)).count == 1

    await until(is_listed)
    assert start.workflow_id not in [each.workflow_id for each in await list_refused(entrances.client)]
    states = TemporalWorkflowStates(entrances.client)
    assert not (await states.state_of(start.workflow_id)).refused
    assert start.workflow_id in [each.saga_id async for each in states.listed()]


async def test_a_shard_that_does_not_exist_is_refused(entrances: Entrances) -> None:
    before = await entrances.rows()
    for start in (
        Start("OutboxRelay", "outbox", "outbox-relay/shard-9", {"shard": "shard-9"}),
        Start("TransferBatchWorkflow", "transfers", "transfer-batch/b", {"batch_id": "b", "lines": {"shard-9": 1}}),
    ):
        assert await _failure(await entrances.start(start)) == {
            "type": "invalid_input",
            "message": "shard: expected one of shard-1, shard-2, shard-3, got 'shard-9'",
            "details": [{"field": "shard"}],
        }
    assert await entrances.rows() == before


# ── updates and queries ─────────────────────────────────────────────────────────────────────────────────────

BAD_UPDATES: list[tuple[str, list[Payload]]] = [
    ("an object", [payload({})]),
    ("null", [payload(None)]),
    ("two", [payload(1), payload("x")]),
    ("binary", [Payload(metadata={"encoding": b"binary/plain"}, data=b"\0")]),
    ("nothing, as binary", [Payload(metadata={"encoding": b"binary/null"})]),
    ("no JSON", [Payload(metadata={"encoding": b"json/plain"}, data=b"{")]),
    ("an unknown encoding", [payload({}, "json/encrypted")]),
]


async def test_an_update_with_an_argument_is_refused_and_the_workflow_goes_on(entrances: Entrances) -> None:
    """Of every type that has updates, each held up by a lock on its shard, or in its window."""
    good = {each.workflow_type: numbered(each, 2_000_000 + n) for n, each in enumerate(of_every_type())}
    regular = {"mode": "regular"}
    order = {**good["OrderSaga"].document, "options": regular}
    placement = {**good["PlaceChoreographedOrder"].document, "options": regular}
    transfer = {**good["TransferWorkflow"].document, "options": regular}
    event = good["ConfirmOrder"].document
    window = {**event, "choreography": {**event["choreography"], "cancellation_window_seconds": 600}}
    async with entrances.world.transaction(await entrances.world.customer_route("ada")) as tx:
        await tx.connection.exec_driver_sql("LOCK TABLE orders IN EXCLUSIVE MODE")
        await tx.connection.exec_driver_sql("SELECT 1 FROM account WHERE id = 'ada' FOR UPDATE")
        held = [
            await entrances.start(replace(good["OrderSaga"], document=order)),
            await entrances.start(replace(good["PlaceChoreographedOrder"], document=placement)),
            await entrances.start(replace(good["TransferWorkflow"], document=transfer)),
            await entrances.start(replace(good["ConfirmOrder"], document=window)),
        ]
        for handle in held:
            for name in ("retry", "cancel") if handle is held[0] else ("retry",):
                for what, payloads in BAD_UPDATES:
                    with pytest.raises(WorkflowUpdateFailedError) as refused:
                        await within(_update(handle, name, payloads))
                    assert isinstance(refused.value.cause, ApplicationError)
                    assert refused.value.cause.type == "invalid_input", what
                    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING, what
            await within(handle.execute_update("retry"))
    for handle in held[:3]:
        await within(handle.result())
    await held[3].terminate()
    for handle in held:
        assert await _failures_of_tasks(handle) == []


def _update(handle: WorkflowHandle[Any, Any], name: str, payloads: list[Payload]) -> Coroutine[Any, Any, Any]:
    return handle.execute_update(name, args=[RawValue(each) for each in payloads])


async def _failures_of_tasks(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """Of workflow tasks, by the workflow's code or what it was given. Left out: tasks that the server ended (other
    causes), and one whose thread got no processor for two seconds, which a busy machine does to any workflow."""
    failed = [event.workflow_task_failed_event_attributes for event in (await handle.fetch_history()).events]
    by_worker = [each.failure.message for each in failed if each.cause == UNHANDLED_FAILURE]
    return [message for message in by_worker if NO_PROCESSOR not in message]


async def test_a_query_with_an_argument_does_no_harm(entrances: Entrances) -> None:
    """A readable argument is ignored."""
    handle = entrances.client.get_workflow_handle("transfer-batch/payroll")
    for _, payloads in BAD_UPDATES:
        with contextlib.suppress(WorkflowQueryFailedError):
            await within(handle.query("progress", args=[RawValue(each) for each in payloads]))
    assert (await within(handle.query("progress")))["round_"] == 2
    refused_one = entrances.client.get_workflow_handle("order/web-1000")
    with pytest.raises(WorkflowQueryFailedError):
        await within(refused_one.query("progress"))
