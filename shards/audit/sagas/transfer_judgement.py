"""What must hold between source and target of one transfer. Pure, like `judgement`, which adds clearing's faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from domain.transfers import Protocol, TransferState
from shards.audit.findings import Check, Fault, Violation
from shards.audit.local.rules import told_amount
from shards.audit.sagas.facts import AdmissionFact, Dossier, TransferFact

# A batch admits its lines before it takes their ids.
_PROMISED = {"open", "refused"}


def transfer_faults(dossier: Dossier) -> Iterator[Fault]:
    saga_id = dossier.saga_id
    for what, shards in (
        ("rows", [each.shard for each in dossier.transfers]),
        ("admissions", [each.shard for each in dossier.admissions]),
    ):
        if len(shards) > 1:
            yield _fault(
                dossier, f"{saga_id} has {len(shards)} {what}: on {', '.join(shards)}", shards[0], shards=shards
            )
    if not dossier.transfers:
        yield _without_row(dossier)
        return
    transfer = dossier.transfers[0]
    if transfer.state == TransferState.PENDING:
        yield _fault(dossier, f"{saga_id} is pending, and nobody works on it", transfer.shard, while_open=True)
    if transfer.state != TransferState.CONFIRMED or transfer.protocol == Protocol.LOCAL:
        for leg in dossier.legs:
            amount = f"{told_amount(leg.amount, leg.currency)} {leg.currency}"
            what = f"{amount} passed through clearing for {saga_id}, which is {_told(transfer)}"
            yield _fault(dossier, what, leg.shard, state=transfer.state)
    for admission in dossier.admissions:
        yield from _admission_faults(dossier, transfer, admission)


def _without_row(dossier: Dossier) -> Fault:
    if dossier.batch_id is not None and not dossier.legs and {each.state for each in dossier.admissions} <= _PROMISED:
        admission = dossier.admissions[0]
        what = f"{dossier.saga_id} was admitted for batch {dossier.batch_id}, which has not decided it and does not run"
        return _fault(dossier, what, admission.shard, while_open=True, admission_state=admission.state)
    known_on = [*(each.shard for each in dossier.admissions), *(each.shard for each in dossier.legs)]
    if not known_on:
        what = f"the workflow of {dossier.saga_id} is closed, but no shard knows the transfer"
        return _fault(dossier, what, None, while_open=True)
    # Its source's shard was restored to before it was opened: whoever carries it out again opens it.
    what = f"{dossier.saga_id} is known, but its source's shard has no row of it, and nobody works on it"
    return _fault(dossier, what, known_on[0], while_open=True)


def _admission_faults(dossier: Dossier, transfer: TransferFact, admission: AdmissionFact) -> Iterator[Fault]:
    saga_id, shard, state = dossier.saga_id, admission.shard, admission.state
    columns: dict[str, Any] = {"account_id": admission.account_id, "admission_state": state, "state": transfer.state}
    asked = (transfer.target, transfer.currency, transfer.amount)
    if asked != (admission.account_id, admission.currency, admission.amount):
        amount = f"{told_amount(admission.amount, admission.currency)} {admission.currency}"
        what = (
            f"{saga_id} was admitted over {amount} for account {admission.account_id}, which is not what was asked for"
        )
        yield _fault(dossier, what, shard, **columns)
    if transfer.protocol == Protocol.LOCAL:
        yield _fault(dossier, f"{saga_id} was moved within a shard, but was admitted on {shard}", shard, **columns)
    elif transfer.state == TransferState.CONFIRMED and state in ("refused", "withdrawn"):
        yield _fault(dossier, f"{saga_id} is confirmed, but its admission is {state}", shard, **columns)
    elif transfer.state != TransferState.CONFIRMED and state == "credited":
        yield _fault(dossier, f"{saga_id} is {transfer.state}, but its target was credited", shard, **columns)
    elif transfer.state == TransferState.DECLINED and state == "open":
        what = f"{saga_id} is declined, its admission is open still, and nobody works on it"
        yield _fault(dossier, what, shard, while_open=True, **columns)


def _told(transfer: TransferFact) -> str:
    return "moved within a shard" if transfer.protocol == Protocol.LOCAL else transfer.state


def _fault(dossier: Dossier, what: str, shard: str | None, while_open: bool = False, **columns: object) -> Fault:
    row: dict[str, object] = {"saga_id": dossier.saga_id, **columns}
    return Fault(Check.TRANSFERS, while_open, Violation(what, shard, row))
