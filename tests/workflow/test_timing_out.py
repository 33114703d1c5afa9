"""A local attempt that runs out of time looks another way when it is replayed than when it happened."""

from __future__ import annotations

import pytest

from tests.workflow.fakes import ShopInMemory
from tests.workflow.faults import Fails, Hangs
from tests.workflow.modes import WITHOUT_CACHE, Mode
from tests.workflow.order_driver import OrderDriver, scheduled

LOCAL_FIRST, _ = WITHOUT_CACHE


@pytest.mark.parametrize("mode", [LOCAL_FIRST], ids=str)
@pytest.mark.parametrize("step", ["open_order", "credit_merchant"])
async def test_a_step_that_timed_out_locally_goes_on_durably_when_it_is_replayed(
    orders: OrderDriver, shop: ShopInMemory, mode: Mode, step: str
) -> None:
    """One step before the decision, which may fail the saga, and one behind it, which must not."""
    shop.inject(step, Fails(), Hangs())
    handle = await orders.place()
    orders.assert_confirmed(await handle.result())
    assert await scheduled(handle, step) == 1
