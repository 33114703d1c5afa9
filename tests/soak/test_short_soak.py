"""A little of `make soak`: one kill of each kind while orders run, and some `verify` in peace.

SOAK_SEED=N repeats a run.
"""

from __future__ import annotations

import os
import time

import pytest

from tests.soak.chaos import WEIGHTS
from tests.soak.soak import Plan, say, soak, stack
from tests.support.installation import Installation

# Other tests run at the same time: what is proved here needs orders in flight, not as many as fit. Some wait in their
# window when something is killed, the others go through their steps.
CONCURRENCY = 4
WINDOWS_SECONDS = (2.0, 0.0)
BATCH = 20
QUIET_SECONDS = 12
SEED = os.environ.get("SOAK_SEED") or str(int(time.time()))


@pytest.mark.timeout(600)
def test_a_kill_of_each_kind_loses_no_order_no_cent_and_no_unit_and_verify_is_quiet_in_peace(
    installation: Installation,
) -> None:
    kinds = len(WEIGHTS)
    plan = Plan(
        SEED,
        chaos_seconds=0,
        quiet_seconds=QUIET_SECONDS,
        strikes_min=kinds,
        freeze_seconds=4,
        batch=BATCH,
        concurrency=CONCURRENCY,
        windows=WINDOWS_SECONDS,
    )
    say(f"SOAK_SEED={SEED}")
    folder = installation.stacks / "soak"
    folder.mkdir()
    with stack(folder) as shardwise:
        report = soak(shardwise, folder, plan)
    assert not report.faults, f"SOAK_SEED={SEED}\n{report}"
    assert report.kills == dict.fromkeys(WEIGHTS, 1)
    assert report.outcomes["confirmed"] > 0
    assert report.outcomes["rejected"] > 0
    # In peace: `soak` begins to count anew for it.
    assert report.in_flight_max > 0
