"""A little of `make bank` and of `make soak`, on one stack: one kill of each kind while transfers run, then while
orders do, and some `verify` in peace.

BANK_SEED=N and SOAK_SEED=N draw other runs, or repeat one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.transfers import Protocol
from tests.soak import bank, soak
from tests.soak.bank_accounts import Way
from tests.soak.chaos import WEIGHTS
from tests.support.command import Shardwise
from tests.support.installation import Installation

BANK_SEED = os.environ.get("BANK_SEED", "1")
BANK_KINDS = {"shard": 1, "worker and shard": 1, "temporal": 1}

SOAK_SEED = os.environ.get("SOAK_SEED") or str(int(time.time()))
# Other tests run at the same time: what is proved here needs orders in flight, not as many as fit. Some wait in their
# window when something is killed, the others go through their steps.
CONCURRENCY = 4
WINDOWS_SECONDS = (2.0, 0.0)
BATCH = 20
QUIET_SECONDS = 8
# After each kill `verify` must find something in flight, which takes a second.
PAUSE_SECONDS = (0.0, 2.0)

# Two minutes on two idle cores; nearly all of it is starting processes, which a busy machine does five times slower.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def shardwise(installation: Installation) -> Iterator[Shardwise]:
    folder = installation.stacks / "soak"
    folder.mkdir()
    with soak.stack(folder) as started:
        yield started


# The first on the stack: its books know of no accounts but its own.
def test_no_cent_is_lost_or_made_while_parts_are_killed(shardwise: Shardwise, tmp_path: Path) -> None:
    plan = bank.Plan(BANK_SEED, seconds=0, strikes_min=len(BANK_KINDS), weights=BANK_KINDS, pause_seconds=PAUSE_SECONDS)
    report = bank.bank(shardwise, tmp_path, plan)
    soak.say(f"BANK_SEED={BANK_SEED}: {report}")
    assert not report.faults, f"BANK_SEED={BANK_SEED}\n{report}"
    assert report.kills == BANK_KINDS
    for protocol in (Protocol.LOCAL, Protocol.SAGA, Protocol.TWO_PHASE):
        assert report.endings[protocol, "settled"] > 0, report
        assert report.endings[protocol, "declined"] > 0, report
    for way in Way:
        assert report.counts[way] > 0, report
    # Without these, nothing was proved.
    assert report.counts["workflows terminated"] > 0, report
    assert report.verified > 0, report
    assert report.looks > 0, report
    assert report.pairings > 0, report


def test_a_kill_of_each_kind_loses_no_order_no_cent_and_no_unit_and_verify_is_quiet_in_peace(
    shardwise: Shardwise, tmp_path: Path
) -> None:
    plan = soak.Plan(
        SOAK_SEED,
        chaos_seconds=0,
        quiet_seconds=QUIET_SECONDS,
        strikes_min=len(WEIGHTS),
        freeze_seconds=4,
        batch=BATCH,
        concurrency=CONCURRENCY,
        windows=WINDOWS_SECONDS,
        pause_seconds=PAUSE_SECONDS,
    )
    soak.say(f"SOAK_SEED={SOAK_SEED}")
    report = soak.soak(shardwise, tmp_path, plan)
    assert not report.faults, f"SOAK_SEED={SOAK_SEED}\n{report}"
    assert report.kills == dict.fromkeys(WEIGHTS, 1)
    assert report.outcomes["confirmed"] > 0
    assert report.outcomes["rejected"] > 0
    # In peace: `soak` begins to count anew for it.
    assert report.in_flight_max > 0
