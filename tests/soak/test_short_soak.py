"""A little of `make soak`: one kill of each kind while orders run, and some `verify` in peace.

SOAK_SEED=N repeats a run.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.soak.chaos import WEIGHTS
from tests.soak.orders import open_shop
from tests.soak.soak import Plan, quiet, say, soak, stack
from tests.soak.verifying import Verifying

# Other tests run at the same time: what is proved here needs orders in flight, not as many as fit.
CONCURRENCY = 4
SEED = os.environ.get("SOAK_SEED") or str(int(time.time()))


@pytest.mark.timeout(400)
def test_a_kill_of_each_kind_loses_no_order_no_cent_and_no_unit(tmp_path: Path) -> None:
    kinds = len(WEIGHTS)
    plan = Plan(SEED, 0, 0, strikes_min=kinds, freeze_seconds=4, batch=40, concurrency=CONCURRENCY)
    say(f"SOAK_SEED={SEED}")
    with stack(tmp_path) as shardwise:
        report = soak(shardwise, tmp_path, plan)
    assert not report.faults, f"SOAK_SEED={SEED}\n{report}"
    assert report.kills == dict.fromkeys(WEIGHTS, 1)
    assert report.outcomes["confirmed"] > 0
    assert report.outcomes["rejected"] > 0


@pytest.mark.timeout(300)
def test_verify_is_quiet_while_an_import_runs(tmp_path: Path) -> None:
    plan = Plan(SEED, chaos_seconds=0, quiet_seconds=20, concurrency=CONCURRENCY)
    with stack(tmp_path) as shardwise:
        open_shop(shardwise, tmp_path)
        verifying = Verifying(shardwise)
        quiet(shardwise, tmp_path, plan, verifying)
    assert not verifying.faults, f"SOAK_SEED={SEED}\n" + "\n".join(verifying.faults)
    assert verifying.in_flight_max > 0
