"""Judges one transfer between source and target. Pure, like `judgement`, which adds the faults of clearing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from domain.transfers import Protocol, TransferState
from shards.audit.findings import Check, Fault, Violation
from shards.audit.local.rules import amount_text
from shards.audit.sagas.facts import AdmissionFact, SagaFacts, TransferFact

# A batch admits its lines before it takes their ids.
_PROMISED = {"open", "refused"}


def transfer_faults(saga: SagaFacts) -> Iterator[Fault]:
    saga_id = saga.saga_id
    for noun, shards in (
        ("rows", [each.shard for each in saga.transfers]),
        ("admissions", [each.shard for each in saga.admissions]),
    ):
        if len(shards) > 1:
            yield _fault(saga, f"{saga_id} has {len(shards)} {noun}: on {', '.join(shards)}", shards[0], shards=shards)
    if not saga.transfers:
        yield _without_row(saga)
        return
    transfer = saga.transfers[0]
    if transfer.state == TransferState.PENDING:
        yield _fault(saga, f"{saga_id} is pending, and nobody works on it", transfer.shard, while_open=True)
    if transfer.state != TransferState.CONFIRMED or transfer.protocol == Protocol.LOCAL:
        for leg in saga.legs:
            amount = f"{amount_text(leg.amount, leg.currency)} {leg.currency}"
            what = f"{amount} passed through clearing for {saga_id}, which is {_state_text(transfer)}"
            yield _fault(saga, what, leg.shard, state=transfer.state)
    for admission in saga.admissions:
        yield from _admission_faults(saga, transfer, admission)


def _without_row(saga: SagaFacts) -> Fault:
    if saga.batch_id is not None and not saga.legs and {each.state for each in saga.admissions} <= _PROMISED:
        admission = saga.admissions[0]
        what = f"{saga.saga_id} was admitted for batch {saga.batch_id}, which has not decided it and does not run"
        return _fault(saga, what, admission.shard, while_open=True, admission_state=admission.state)
    known_on = [*(each.shard for each in saga.admissions), *(each.shard for each in saga.legs)]
    if not known_on:
        what = f"the workflow of {saga.saga_id} is closed, but no shard knows the transfer"
        return _fault(saga, what, None, while_open=True)
    # Its source's shard was restored to a time before it was opened. Carrying it out again opens it.
    what = f"{saga.saga_id} is known, but its source's shard has no row of it, and nobody works on it"
    return _fault(saga, what, known_on[0], while_open=True)


def _admission_faults(saga: SagaFacts, transfer: TransferFact, admission: AdmissionFact) -> Iterator[Fault]:
    saga_id, shard, state = saga.saga_id, admission.shard, admission.state
    columns: dict[str, Any] = {"account_id": admission.account_id, "admission_state": state, "state": transfer.state}
    wanted = (transfer.target, transfer.currency, transfer.amount)
    if wanted != (admission.account_id, admission.currency, admission.amount):
        amount = f"{amount_text(admission.amount, admission.currency)} {admission.currency}"
        what = (
            f"{saga_id} was admitted over {amount} for account {admission.account_id}, which is not what was asked for"
        )
        yield _fault(saga, what, shard, **columns)
    if transfer.protocol == Protocol.LOCAL:
        yield _fault(saga, f"{saga_id} was moved within a shard, but was admitted on {shard}", shard, **columns)
    elif transfer.state == TransferState.CONFIRMED and state in ("refused", "withdrawn"):
        yield _fault(saga, f"{saga_id} is confirmed, but its admission is {state}", shard, **columns)
    elif transfer.state != TransferState.CONFIRMED and state == "credited":
        yield _fault(saga, f"{saga_id} is {transfer.state}, but its target was credited", shard, **columns)
    elif transfer.state == TransferState.DECLINED and state == "open":
        what = f"{saga_id} is declined, its admission is open still, and nobody works on it"
        yield _fault(saga, what, shard, while_open=True, **columns)


def _state_text(transfer: TransferFact) -> str:
    return "moved within a shard" if transfer.protocol == Protocol.LOCAL else transfer.state


def _fault(saga: SagaFacts, what: str, shard: str | None, while_open: bool = False, **columns: object) -> Fault:
    row: dict[str, object] = {"saga_id": saga.saga_id, **columns}
    return Fault(Check.TRANSFERS, while_open, Violation(what, shard, row))
