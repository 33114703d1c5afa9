"""Every activity of the sagas under every fault, in both modes: at rest all are final, every cent and unit is
where it belongs, and every answer agrees with the rows.

All chosen cases run at once, when the first of them is asked for, in a process of their own: a worker warns of what is
done to it here, and what terminated workflows leave in its cache complains when it is thrown away.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from domain.steps import Step
from tests.faults.battery import Verdict
from tests.faults.cases import ASKED_EVERY_TIME, CASES
from tests.faults.declared import DECLARED
from tests.support.places import assert_says_all

SECONDS_MAX = 1100

pytestmark = pytest.mark.timeout(SECONDS_MAX + 30)


def test_every_activity_of_a_saga_has_its_faults_declared() -> None:
    assert_says_all("tests/faults/declared.py", Step, DECLARED)


@pytest.fixture(scope="module")
def verdict(request: pytest.FixtureRequest) -> Verdict:
    chosen = [item.callspec.params.get("case") for item in request.session.items if hasattr(item, "callspec")]
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "tests.faults.run", "--json"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as battery:
        try:
            names = json.dumps([name for name in chosen if name in CASES])
            stdout, stderr = battery.communicate(names, timeout=SECONDS_MAX)
        finally:
            battery.terminate()  # If it has not ended, it ends its servers.
    assert stdout, stderr[-5000:]
    return Verdict(**json.loads(stdout))


@pytest.mark.parametrize("case", ASKED_EVERY_TIME)
def test_case(case: str, verdict: Verdict) -> None:
    assert verdict.faults[case] == []


def test_verify_has_nothing_to_say_of_anything_else(verdict: Verdict) -> None:
    assert verdict.unrelated == []
