"""Every activity of the order saga under every fault, in both modes: at rest the order is final, every cent and unit is
where it belongs, and what anybody was told is what the rows say.

All chosen cases run at once, when the first of them is asked for.
"""

from __future__ import annotations

import pytest
from temporalio.client import Client

from activities import interfaces
from stack.settings import Databases
from tests.faults.battery import Verdict, battery_on
from tests.faults.cases import CASES
from tests.faults.declared import DECLARED
from tests.unit.test_activity_names import METHODS

pytestmark = pytest.mark.timeout(600)


def test_every_activity_of_a_saga_has_its_faults_declared() -> None:
    assert {method for _, method in METHODS} == set(DECLARED), interfaces.__name__


@pytest.fixture(scope="module")
async def verdict(request: pytest.FixtureRequest, lasting_cluster: Databases, temporal: Client) -> Verdict:
    chosen = [item.callspec.params.get("case") for item in request.session.items if hasattr(item, "callspec")]
    cases = [CASES[name] for name in chosen if name in CASES]
    async with battery_on(lasting_cluster, temporal) as battery:
        return await battery.run(cases, say=lambda _: None)


@pytest.mark.parametrize("case", CASES)
def test_case(case: str, verdict: Verdict) -> None:
    assert verdict.faults[case] == []


def test_verify_has_nothing_to_say_of_anything_else(verdict: Verdict) -> None:
    assert verdict.unrelated == []
