"""Replicas of a shard: what they are called, and whether one is fit to be read from.

A replica that answers need not be fit: one that its primary does not feed any more goes on answering for ever. It is
fit if it streams from its primary and is behind by no more than a bound.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from domain.wal_positions import end_of_log

WEIGHT_MAX = 100


def replica_name(shard: str, number: int) -> str:
    """The shard's first replica has the number 1."""
    return f"{shard}-replica-{number}"


@dataclass(frozen=True, slots=True)
class ReplicaAddress:
    """`weight`: its share of the reads, beside the weights of the shard's other replicas."""

    dsn: str = field(repr=False)
    weight: int = 1


class LeftOut(StrEnum):
    """Why a replica is not read from."""

    UNREACHABLE = "unreachable"
    OTHER_SERVER = "other_server"
    NOT_IN_RECOVERY = "not_in_recovery"
    NOT_VISIBLE = "not_visible"
    NOT_STREAMING = "not_streaming"
    LAG_UNKNOWN = "lag_unknown"
    LAGGING = "lagging"


@dataclass(frozen=True, slots=True)
class ReplicaState:
    """What a replica says of itself. `streams` None: our role may not see it there. `replayed`: up to which position of
    its primary's log. `sent`: how far that log was written when the primary last sent anything. `seconds`: how long ago
    it was up to date, at most; says nothing while it does not stream."""

    in_recovery: bool
    streams: bool | None
    replayed: int | None
    sent: int | None
    seconds: float | None


def lag_bytes(primary_position: int, replayed: int) -> int:
    """How much of its primary's log a replica has still to replay. The position must have been read before `replayed`,
    or what was written in between counts too."""
    return max(0, end_of_log(primary_position) - replayed)


def why_left_out(state: ReplicaState, behind: int | None, behind_max: int) -> LeftOut | None:
    """None if the replica is fit. `behind`: its lag in bytes; None: not known, since its primary does not answer and
    has sent it nothing."""
    if not state.in_recovery:
        return LeftOut.NOT_IN_RECOVERY
    if state.streams is None:
        return LeftOut.NOT_VISIBLE
    if not state.streams:
        return LeftOut.NOT_STREAMING
    if behind is None:
        return LeftOut.LAG_UNKNOWN
    return LeftOut.LAGGING if behind > behind_max else None
