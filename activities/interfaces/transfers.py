"""Transfers: by saga, by two-phase commit, and what is in doubt between the two phases."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pydantic.dataclasses import dataclass
from temporalio import activity

from activities.interfaces.orders import StepResult
from domain.in_doubt import InDoubtReport
from domain.sagas import Decision, Refusal
from domain.transfers import Protocol, ProtocolChoice, Transfer, TransferState
from domain.two_phase import Ended, Participant, Vote


@dataclass(frozen=True, slots=True)
class OpenTransfer:
    transfer: Transfer
    protocol: ProtocolChoice = ProtocolChoice.AUTO


@dataclass(frozen=True, slots=True)
class OpenedTransfer:
    """The transfer's row in its present state, with the protocol that was begun. Without a `state` there is no row: the
    request was refused and left nothing. `declined_at_once`: the transaction that opened it declined it, so nothing was
    begun elsewhere. The shards are for people: routing looks them up in the map again.
    """

    refusal: Refusal | None
    source_shard: str
    target_shard: str
    protocol: Protocol | None = None
    state: TransferState | None = None
    declined_at_once: bool = False


@dataclass(frozen=True, slots=True)
class DecideTransfer:
    """`refusal` None requests to confirm, otherwise to decline for that reason."""

    transfer: Transfer
    protocol: Protocol
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class ParticipantStep:
    transfer: Transfer
    participant: Participant


@dataclass(frozen=True, slots=True)
class AbortParticipant:
    transfer: Transfer
    participant: Participant
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class ResolveInDoubt:
    older_than_seconds: float


class TransferActivities(ABC):
    """Both sides of a transfer. The source's row and the target's admission are the barriers on their shards."""

    @activity.defn
    @abstractmethod
    async def open_transfer(self, request: OpenTransfer) -> OpenedTransfer:
        """Takes the id on the source's shard and begins. Within one shard this is the whole transfer; across shards, a
        saga also places the hold, and two-phase commit does no more yet.

        Idempotent by source, id and content. Refuses `id_conflict` and `not_local`, which leave nothing; any other
        refusal declines the transfer for ever: `unknown_account`, `currency_mismatch`, `account_not_open`,
        `insufficient_funds`. A hold is undone by `decide_transfer` with a refusal.
        """

    @activity.defn
    @abstractmethod
    async def admit_transfer(self, transfer: Transfer) -> StepResult:
        """The target's promise to accept, on its shard. Refuses `unknown_account`, `account_not_open`,
        `currency_mismatch`. Undone by `withdraw_admission`, kept by `credit_transfer`.
        """

    @activity.defn
    @abstractmethod
    async def decide_transfer(self, request: DecideTransfer) -> Decision:
        """The pivot: one compare-and-set on the transfer's row. Confirming captures the hold, declining releases it, in
        the same transaction. The first decision wins and every call returns it.

        Never undone: after `confirmed` only forward, after anything else the admission is withdrawn.
        """

    @activity.defn
    @abstractmethod
    async def credit_transfer(self, transfer: Transfer) -> None:
        """Moves the captured amount from clearing to the target. Only after `confirmed`; forward only, cannot be
        refused. Until it has run, `verify` shows the amount as in flight.
        """

    @activity.defn
    @abstractmethod
    async def withdraw_admission(self, transfer: Transfer) -> None:
        """Undoes `admit_transfer`; if that never ran, it never will."""


class TwoPhaseActivities(ABC):
    """The phases of a two-phase commit, for one participant each. Run them as regular activities only: the votes and
    the decision have to be in the history, and scheduling the first commit is what records the decision.

    The source's row holds the decision: the source is committed or aborted first, and the target follows it.
    """

    @activity.defn
    @abstractmethod
    async def prepare_participant(self, request: ParticipantStep) -> Vote:
        """Phase one: the participant's whole part, prepared on its shard. One participant after the other, in the order
        of `in_prepare_order`.

        Votes no with `unknown_account`, `account_not_open`, `currency_mismatch`, `insufficient_funds`, or
        `already_compensated` if it was aborted before. Undone by `abort_participant`.

        If we crash during this phase, each participant has voted or has not: what was prepared stays so, with its
        locks, and the next attempt finds it. Nothing is decided, so the transfer may still be aborted.
        """

    @activity.defn
    @abstractmethod
    async def commit_participant(self, request: ParticipantStep) -> Ended:
        """Phase two, after every vote was yes. Forward only. The source returns `aborted` if another coordinator was
        first; then the target has to be aborted.

        If we crash during this phase, the decision is in the history, and in the source's row once that is committed;
        the money is debited and perhaps not yet credited. The next attempt commits the rest.
        """

    @activity.defn
    @abstractmethod
    async def abort_participant(self, request: AbortParticipant) -> Ended:
        """Phase two, for any no. Bars the participant from being prepared late. The source returns `committed` if
        another coordinator was first; then the target has to be committed.

        If we crash during this phase, the source's row is declined or still pending; what is still prepared keeps its
        locks until the next attempt rolls it back. No money has moved.
        """


class InDoubtActivities(ABC):
    """Prepared transactions whose coordinator is gone."""

    @activity.defn
    @abstractmethod
    async def resolve_in_doubt(self, request: ResolveInDoubt) -> InDoubtReport:
        """Ends the transactions in doubt on all shards that are older than this: by the decision in the workflow's
        history, else by the participants' rows. It leaves those of running workflows alone. One whose transfer may
        have been committed on a shard that does not answer has to wait.

        Idempotent. If we crash here, some are ended and the next sweep finds the others.
        """
