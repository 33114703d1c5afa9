"""A bank in memory behind the interfaces of transfers, with faults injected by step.

The rows follow `transfer_row`, `admissions` and `two_phase` of `shards.transfers`; each effect is one piece of
synchronous code, so it happens as a whole or not at all.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from temporalio import activity

from activities.interfaces import (
    AbortParticipant,
    DecideTransfer,
    OpenedTransfer,
    OpenTransfer,
    ParticipantStep,
    StepResult,
    TransferActivities,
    TwoPhaseActivities,
)
from activities.registry import names_of
from domain.sagas import ALREADY_COMPENSATED, Decision, Reason, Refusal, SagaOutcome
from domain.transfers import Protocol, ProtocolChoice, Transfer, TransferState
from domain.two_phase import Ended, Participant, ParticipantOutcome, Vote
from tests.workflow.faults import Fault

R = TypeVar("R")

SOURCE_SHARD, TARGET_SHARD = "shard-1", "shard-2"


@dataclass
class BankInMemory:
    """`ada` and `bob` are on two shards, `ada` and `amy` on one. `calls`: every attempt of every step."""

    balances: dict[str, int] = field(default_factory=lambda: {"ada": 100_00, "amy": 0, "bob": 0})
    frozen: set[str] = field(default_factory=set)
    held: int = 0
    clearing: int = 0
    state: TransferState | None = None
    protocol: Protocol | None = None
    refusal: Refusal | None = None
    declined_at_once: bool = False
    admission: str | None = None
    prepared: set[Participant] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    _faults: defaultdict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))

    def inject(self, step: str, *faults: Fault) -> None:
        """One fault for each of the step's next attempts; one that `lasts` stays for all."""
        self._faults[step].extend(faults)

    async def attempt(self, step: str, effect: Callable[[], R]) -> R:
        self.calls.append(step)
        faults = self._faults[step]
        if not faults:
            return effect()
        fault = faults[0] if faults[0].lasts else faults.popleft()
        return await fault.around(effect)

    def steps(self) -> list[str]:
        """Each step once, in the order of their first attempts."""
        return list(dict.fromkeys(self.calls))

    def assert_at_rest(self, moved: int, target: str = "bob") -> None:
        assert (self.held, self.clearing, self.prepared) == (0, 0, set())
        assert self.balances["ada"] == 100_00 - moved
        assert self.balances[target] == moved
        assert self.admission != "open"
        assert self.state is not TransferState.PENDING

    # ── the source's rows ───────────────────────────────────────────────────────────────────────────────────

    def open(self, transfer: Transfer, choice: ProtocolChoice) -> OpenedTransfer:
        shards = (SOURCE_SHARD, SOURCE_SHARD if transfer.target == "amy" else TARGET_SHARD)
        protocol = Protocol.LOCAL if shards[0] == shards[1] else choice.across_shards()
        if protocol is None:
            return OpenedTransfer(Refusal(Reason.NOT_LOCAL, "two shards"), *shards)
        if self.state is None:
            self.state, self.protocol = TransferState.PENDING, protocol
            self._begin(transfer)
        return OpenedTransfer(self.refusal, *shards, self.protocol, self.state, self.declined_at_once)

    def _begin(self, transfer: Transfer) -> None:
        if self.protocol is Protocol.TWO_PHASE:
            return
        amount = transfer.amount.minor
        if self.balances[transfer.source] < amount:
            self.declined_at_once = True
            self.decline(Refusal(Reason.INSUFFICIENT_FUNDS, "too little"))
            return
        self.balances[transfer.source] -= amount
        if self.protocol is Protocol.LOCAL:
            self.balances[transfer.target] += amount
            self.state = TransferState.CONFIRMED
        else:
            self.held = amount

    def decide(self, transfer: Transfer, refusal: Refusal | None) -> Decision:
        if self.state is TransferState.PENDING and refusal is None:
            self.state = TransferState.CONFIRMED
            self.clearing, self.held = self.clearing + self.held, 0
        elif self.state is TransferState.PENDING and refusal is not None:
            self.balances[transfer.source] += self.held
            self.held = 0
            self.decline(refusal)
        if self.state is TransferState.CONFIRMED:
            return Decision(SagaOutcome.CONFIRMED)
        return Decision(SagaOutcome.ABORTING, self.refusal)

    def decline(self, refusal: Refusal) -> None:
        self.state, self.refusal = TransferState.DECLINED, refusal

    # ── the target's ────────────────────────────────────────────────────────────────────────────────────────

    def admit(self, transfer: Transfer) -> Refusal | None:
        if self.admission is None:
            self.admission = "refused" if transfer.target in self.frozen else "open"
        if self.admission == "refused":
            return Refusal(Reason.ACCOUNT_NOT_OPEN, "frozen")
        return ALREADY_COMPENSATED if self.admission == "withdrawn" else None

    def credit(self, transfer: Transfer) -> None:
        if self.admission == "open":
            self.admission = "credited"
            self.clearing -= transfer.amount.minor
            self.balances[transfer.target] += transfer.amount.minor
        assert self.admission == "credited"

    def withdraw(self) -> None:
        assert self.admission != "credited"
        self.admission = "refused" if self.admission == "refused" else "withdrawn"

    # ── two-phase commit ────────────────────────────────────────────────────────────────────────────────────

    def prepare(self, transfer: Transfer, participant: Participant) -> Vote:
        if participant is Participant.SOURCE:
            if self.state is TransferState.DECLINED:
                return Vote(self.refusal)
            if self.balances[transfer.source] < transfer.amount.minor:
                return Vote(Refusal(Reason.INSUFFICIENT_FUNDS, "too little"))
        elif self.admission == "withdrawn":
            return Vote(ALREADY_COMPENSATED)
        elif transfer.target in self.frozen:
            return Vote(Refusal(Reason.ACCOUNT_NOT_OPEN, "frozen"))
        self.prepared.add(participant)
        return Vote()

    def commit(self, transfer: Transfer, participant: Participant) -> Ended:
        amount = transfer.amount.minor
        if participant is Participant.SOURCE:
            if self.state is TransferState.DECLINED:
                return Ended(ParticipantOutcome.ABORTED, self.refusal)
            if self.state is TransferState.PENDING:
                self.state = TransferState.CONFIRMED
                self.balances[transfer.source] -= amount
                self.clearing += amount
        elif self.admission != "credited":
            self.admission = "credited"
            self.clearing -= amount
            self.balances[transfer.target] += amount
        self.prepared.discard(participant)
        return Ended(ParticipantOutcome.COMMITTED)

    def abort(self, participant: Participant, refusal: Refusal) -> Ended:
        self.prepared.discard(participant)
        if participant is Participant.TARGET:
            self.withdraw()
            return Ended(ParticipantOutcome.ABORTED, refusal)
        if self.state is TransferState.CONFIRMED:
            return Ended(ParticipantOutcome.COMMITTED)
        if self.state is TransferState.PENDING:
            self.decline(refusal)
        return Ended(ParticipantOutcome.ABORTED, self.refusal)


Banks = Mapping[str, BankInMemory]
"""By saga id: tests share workers, not banks."""


class FakeTransfers(TransferActivities):
    def __init__(self, banks: Banks) -> None:
        self._banks = banks

    @activity.defn
    async def open_transfer(self, request: OpenTransfer) -> OpenedTransfer:
        bank = self._banks[request.transfer.saga_id]
        return await bank.attempt("open", lambda: bank.open(request.transfer, request.protocol))

    @activity.defn
    async def admit_transfer(self, transfer: Transfer) -> StepResult:
        bank = self._banks[transfer.saga_id]
        return StepResult(await bank.attempt("admit", lambda: bank.admit(transfer)))

    @activity.defn
    async def decide_transfer(self, request: DecideTransfer) -> Decision:
        bank = self._banks[request.transfer.saga_id]
        return await bank.attempt("decide", lambda: bank.decide(request.transfer, request.refusal))

    @activity.defn
    async def credit_transfer(self, transfer: Transfer) -> None:
        bank = self._banks[transfer.saga_id]
        await bank.attempt("credit", lambda: bank.credit(transfer))

    @activity.defn
    async def withdraw_admission(self, transfer: Transfer) -> None:
        bank = self._banks[transfer.saga_id]
        await bank.attempt("withdraw", bank.withdraw)


class FakeTwoPhase(TwoPhaseActivities):
    def __init__(self, banks: Banks) -> None:
        self._banks = banks

    @activity.defn
    async def prepare_participant(self, request: ParticipantStep) -> Vote:
        bank = self._banks[request.transfer.saga_id]
        step = f"prepare {request.participant}"
        return await bank.attempt(step, lambda: bank.prepare(request.transfer, request.participant))

    @activity.defn
    async def commit_participant(self, request: ParticipantStep) -> Ended:
        bank = self._banks[request.transfer.saga_id]
        step = f"commit {request.participant}"
        return await bank.attempt(step, lambda: bank.commit(request.transfer, request.participant))

    @activity.defn
    async def abort_participant(self, request: AbortParticipant) -> Ended:
        bank = self._banks[request.transfer.saga_id]
        step = f"abort {request.participant}"
        return await bank.attempt(step, lambda: bank.abort(request.participant, request.refusal))


def activities_of(banks: Banks) -> Sequence[Callable[..., Any]]:
    """Every activity of the two interfaces."""
    fakes = (FakeTransfers(banks), FakeTwoPhase(banks))
    return [getattr(fake, name) for fake in fakes for name in names_of(type(fake).__base__)]
