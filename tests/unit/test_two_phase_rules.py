"""The names of prepared transactions, the order of prepares, and what becomes of one that is in doubt."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.identifiers import transfer_saga_id
from domain.limits import IDENTIFIER_CHARS_MAX
from domain.two_phase import (
    GID_BYTES_MAX,
    Coordinator,
    Participant,
    ParticipantOutcome,
    Resolution,
    gid_of,
    gid_stem,
    in_prepare_order,
    parse_gid,
    resolve,
)

IDS = st.text("abcXYZ019._-", min_size=1, max_size=IDENTIFIER_CHARS_MAX)
KNOWN = (ParticipantOutcome.COMMITTED, ParticipantOutcome.ABORTED, ParticipantOutcome.UNKNOWN, None)


@given(IDS, IDS, st.sampled_from(Participant))
def test_every_name_fits_and_is_parsed_back(source: str, transfer_id: str, participant: Participant) -> None:
    saga_id = transfer_saga_id(source, transfer_id)
    gid = gid_of(saga_id, participant)
    assert len(gid.encode()) <= GID_BYTES_MAX
    name = parse_gid(gid)
    assert name is not None
    assert (name.gid, name.stem, name.participant) == (gid, gid_stem(saga_id), participant)


@pytest.mark.parametrize("saga_id", ["transfer/a/it's", "transfer/ä/b", "transfer/a/b\n"])
def test_a_text_that_could_end_the_literal_is_no_name(saga_id: str) -> None:
    with pytest.raises(ValueError, match="not a gid"):
        gid_of(saga_id, Participant.SOURCE)


@pytest.mark.parametrize(
    "gid", ["", "shardwise:", "shardwise:x", "shardwise::source", "other:x:source", "shardwise:x:y"]
)
def test_a_name_of_another_form_is_not_ours(gid: str) -> None:
    assert parse_gid(gid) is None


def test_two_transfers_between_the_same_shards_prepare_in_the_same_order() -> None:
    source, target = Participant.SOURCE, Participant.TARGET
    assert in_prepare_order("shard-1", "shard-2") == [(source, "shard-1"), (target, "shard-2")]
    assert in_prepare_order("shard-2", "shard-1") == [(target, "shard-1"), (source, "shard-2")]


@pytest.mark.parametrize("outcomes", list(itertools.product(KNOWN, KNOWN)))
def test_without_a_decision_the_rows_say_what_becomes_of_it(
    outcomes: tuple[ParticipantOutcome | None, ParticipantOutcome | None],
) -> None:
    resolution = resolve(None, outcomes)
    assert (resolution is Resolution.COMMIT) == (ParticipantOutcome.COMMITTED in outcomes)
    if resolution is Resolution.ABORT:
        assert None not in outcomes
    assert resolve(ParticipantOutcome.COMMITTED, outcomes) is Resolution.COMMIT
    assert resolve(ParticipantOutcome.ABORTED, outcomes) is Resolution.ABORT


def test_only_a_coordinator_that_is_gone_leaves_a_decision_to_others() -> None:
    assert {each: each.decision for each in Coordinator} == {
        Coordinator.AT_WORK: None,
        Coordinator.COMMITTING: ParticipantOutcome.COMMITTED,
        Coordinator.ABORTING: ParticipantOutcome.ABORTED,
        Coordinator.GONE: None,
    }
