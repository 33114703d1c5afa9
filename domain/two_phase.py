"""Two-phase commit: what its prepared transactions are called, and the rules that resolve one that is in doubt.

    work ──▶ vote yes (PREPARE TRANSACTION) ──▶ decision ──▶ COMMIT PREPARED or ROLLBACK PREPARED

Between its vote and the decision a participant is *in doubt*: it can neither commit nor abort by itself. The commit
point is `COMMIT PREPARED` of the source. What the coordinator intends is in its durable history; if that is lost, the
outcome rows, which the participants' own transactions write, say how far it came.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from domain.sagas import Refusal

# Postgres accepts no longer name: its documentation says "less than 200 bytes".
GID_BYTES_MAX = 199
GID_PREFIX = "shardwise:"
_STEM_BYTES_MAX = 150


class Participant(StrEnum):
    """The two sides of a transfer. The source's outcome row is the transfer, the target's the admission."""

    SOURCE = "source"
    TARGET = "target"


class ParticipantOutcome(StrEnum):
    """The outcome of a participant's part by its own rows. `UNKNOWN`: no row yet, so it may still be prepared, or never
    will be. `ABORTED` also means that a late PREPARE can no longer succeed: the marker is written.
    """

    COMMITTED = "committed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


class Coordinator(StrEnum):
    """What is known of the coordinator. `AT_WORK`: it will end the transaction itself. `COMMITTING`, `ABORTING`: it is
    gone, and had decided. `GONE`: it had decided nothing, or its decision is not known (any more).
    """

    AT_WORK = "at work"
    COMMITTING = "committing"
    ABORTING = "aborting"
    GONE = "gone"

    @property
    def decision(self) -> ParticipantOutcome | None:
        match self:
            case Coordinator.COMMITTING:
                return ParticipantOutcome.COMMITTED
            case Coordinator.ABORTING:
                return ParticipantOutcome.ABORTED
            case _:
                return None


class Resolution(StrEnum):
    """`ABORT`: the source first, since by its row it may be committed after all."""

    COMMIT = "commit"
    ABORT = "abort"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Vote:
    """`refusal` None: yes. A participant that voted yes can be committed at any later time, whatever crashes."""

    refusal: Refusal | None = None

    @property
    def is_yes(self) -> bool:
        return self.refusal is None


@dataclass(frozen=True, slots=True)
class Ended:
    """How a participant's part ended. `refusal` is the row's reason if it is `ABORTED`: that of the first decision."""

    outcome: ParticipantOutcome
    refusal: Refusal | None = None

    @property
    def is_committed(self) -> bool:
        return self.outcome is ParticipantOutcome.COMMITTED


@dataclass(frozen=True, slots=True)
class PreparedName:
    """The parts of a gid of ours."""

    gid: str
    stem: str
    participant: Participant


def gid_stem(saga_id: str) -> str:
    """What all gids of a saga begin with, after the prefix: the saga's id, or its hash if the id is too long.

    The transfer's row keeps it, since a hash leads back to nothing by itself.
    """
    if len(saga_id) <= _STEM_BYTES_MAX:
        return saga_id
    return "hash/" + hashlib.blake2b(saga_id.encode(), digest_size=16).hexdigest()


def gid_of(saga_id: str, participant: Participant) -> str:
    """The name of this participant's prepared transaction. It can be no bind parameter, so it is checked here: ids hold
    no quote, and one that is longer than Postgres takes was hashed."""
    gid = f"{GID_PREFIX}{gid_stem(saga_id)}:{participant}"
    if len(gid.encode()) > GID_BYTES_MAX or not gid.isascii() or "'" in gid or not gid.isprintable():
        raise ValueError(f"not a gid: {gid!r}")
    return gid


def parse_gid(gid: str) -> PreparedName | None:
    """None for a gid that shardwise cannot have made."""
    stem, colon, participant = gid.removeprefix(GID_PREFIX).rpartition(":")
    if not gid.startswith(GID_PREFIX) or not colon or not stem or participant not in set(Participant):
        return None
    return PreparedName(gid, stem, Participant(participant))


def in_prepare_order(source_shard: str, target_shard: str) -> list[tuple[Participant, str]]:
    """The participants with their shards in the one order in which every transfer prepares: by the shards' names.

    In any other, two transfers between the same servers can each wait for what the other has prepared, and no server
    sees that they do.
    """
    shards = {Participant.SOURCE: source_shard, Participant.TARGET: target_shard}
    return sorted(shards.items(), key=lambda part: (part[1], part[0]))


def resolve(decision: ParticipantOutcome | None, outcomes: Iterable[ParticipantOutcome | None]) -> Resolution:
    """How to end an in-doubt transaction.

    `decision` is the coordinator's, None if it is not known (any more). `outcomes` are all participants', None for one
    that does not answer. Presuming abort while a participant does not answer could leave half a transfer: it may have
    committed.
    """
    if decision is ParticipantOutcome.COMMITTED:
        return Resolution.COMMIT
    if decision is ParticipantOutcome.ABORTED:
        return Resolution.ABORT
    known = list(outcomes)
    if ParticipantOutcome.COMMITTED in known:
        return Resolution.COMMIT
    return Resolution.WAIT if None in known else Resolution.ABORT
