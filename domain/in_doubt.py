"""Transactions in doubt, prepared and not ended yet, and the report of a sweep over all shards."""

from __future__ import annotations

from dataclasses import dataclass

from domain.two_phase import ParticipantOutcome


@dataclass(frozen=True, slots=True)
class InDoubt:
    """One prepared transaction of ours. `seconds`: how long ago it was prepared, by its server's clock."""

    gid: str
    shard: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Resolved:
    """`outcome` `UNKNOWN`: rolled back, since it can belong to no transfer on any shard. `saga_id` is None then."""

    gid: str
    shard: str
    saga_id: str | None
    outcome: ParticipantOutcome


@dataclass(frozen=True, slots=True)
class Waiting:
    """`why` is a sentence for a person; the next sweep looks again."""

    gid: str
    shard: str
    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class InDoubtReport:
    """`unreachable`: shards that did not answer, and may have some."""

    resolved: list[Resolved]
    waiting: list[Waiting]
    unreachable: list[str]
