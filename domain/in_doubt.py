"""Transactions in doubt: prepared, and not ended yet. What a sweep over all shards did about them."""

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
    """`outcome` `UNKNOWN`: rolled back, since no shard knows a transfer that it could belong to. `saga_id` is None
    then.
    """

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
    """`unreachable` shards could not be asked whether they have any."""

    resolved: list[Resolved]
    waiting: list[Waiting]
    unreachable: list[str]
