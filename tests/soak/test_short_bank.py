"""Half a minute of `make bank`: one kill of each of these kinds while transfers run by every protocol.

BANK_SEED=N draws another run.
"""

from __future__ import annotations

import os

import pytest

from domain.transfers import Protocol
from tests.soak.bank import Plan, bank
from tests.soak.bank_accounts import Way
from tests.soak.soak import say, stack
from tests.support.installation import Installation

SEED = os.environ.get("BANK_SEED", "1")
KINDS = {"shard": 1, "worker and shard": 1, "temporal": 1}


# A minute on two idle cores; nearly all of it is starting processes, which a busy machine does five times slower.
@pytest.mark.timeout(600)
def test_no_cent_is_lost_or_made_while_parts_are_killed(installation: Installation) -> None:
    folder = installation.stacks / "bank"
    folder.mkdir()
    with stack(folder) as shardwise:
        report = bank(shardwise, folder, Plan(SEED, seconds=0, strikes_min=len(KINDS), weights=KINDS))
    say(f"BANK_SEED={SEED}: {report}")
    assert not report.faults, f"BANK_SEED={SEED}\n{report}"
    assert report.kills == KINDS
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
