"""Every kind of damage to a transfer that `verify` claims to find: how to do it, and the message it must report."""

from __future__ import annotations

from dataclasses import dataclass

from shards.audit.workflows import Work

NOWHERE, PENDING, ADMITTED, CAPTURED, SETTLED, DECLINED, WITHDRAWN, LOCAL = (
    "nowhere",
    "pending",
    "admitted",
    "captured",
    "settled",
    "declined",
    "withdrawn",
    "local",
)
SOURCE, TARGET, ELSEWHERE = "source", "target", "elsewhere"

_COPY_ROW = """
    INSERT INTO transfer
        (source, id, keyspace, slot, target, currency, amount, content_hash, protocol, state, decided_at)
    VALUES ('{source}', '{id}', 'bucket', '1', '{target}', 'USD', 1000, '', 'saga', 'confirmed', now())
"""
_ADMISSION = """
    INSERT INTO admission (saga_id, account_id, keyspace, slot, currency, amount, state)
    VALUES ('{saga}', '{target}', 'bucket', '1', 'USD', 1000, 'open')
"""
_THIS_ROW = "WHERE source = '{source}' AND id = '{id}'"


@dataclass(frozen=True)
class TransferDamage:
    """A transfer of 10.00 USD comes to `state` in the product's own way; then `sql` runs, constraints off."""

    said: str
    state: str
    at: str = SOURCE
    sql: str = ""
    work: Work = Work.CLOSED


TRANSFER_DAMAGES = (
    # ── on one shard ────────────────────────────────────────────────────────────────────────────────────────
    TransferDamage(
        "{saga} (saga) is confirmed over 10.00, but 0.00 left account {source}",
        SETTLED,
        sql="DELETE FROM movement WHERE saga_id = '{saga}'",
    ),
    TransferDamage(
        "{saga} moved 10.00 within this shard, but 0.00 reached account {target}",
        LOCAL,
        sql="DELETE FROM entry USING movement AS m WHERE m.id = movement_id AND m.saga_id = '{saga}' AND amount > 0",
    ),
    TransferDamage(
        "(capture of {saga}) took money from an account, but its transfer is not here",
        SETTLED,
        sql="DELETE FROM transfer " + _THIS_ROW,
    ),
    TransferDamage(
        "{saga} is pending, but its hold over 10.00 on account {source} is released",
        PENDING,
        sql="UPDATE hold SET state = 'released' WHERE saga_id = '{saga}'",
    ),
    TransferDamage(
        "{saga} is pending over 10.00, but 0.00 of account {source} was held for it",
        PENDING,
        sql="DELETE FROM hold WHERE saga_id = '{saga}'",
    ),
    TransferDamage(
        "the admission of {saga} over 10.00 is credited, but 0.00 reached account {target}",
        SETTLED,
        TARGET,
        "DELETE FROM movement WHERE saga_id = '{saga}'",
    ),
    TransferDamage(
        "credited an account for {saga}, whose admission is not here",
        SETTLED,
        TARGET,
        "DELETE FROM admission WHERE saga_id = '{saga}'",
    ),
    TransferDamage(
        "account {target} is closed, but has 100.00 posted, 0.00 held and 1 open admissions",
        ADMITTED,
        TARGET,
        "UPDATE account SET state = 'closed' WHERE id = '{target}'",
        Work.OPEN,
    ),
    # ── between the shards ──────────────────────────────────────────────────────────────────────────────────
    TransferDamage("{saga} has 2 rows: on ", SETTLED, ELSEWHERE, _COPY_ROW),
    TransferDamage("{saga} has 2 admissions: on ", SETTLED, ELSEWHERE, _ADMISSION),
    TransferDamage("the workflow of {saga} is closed, but no shard knows the transfer", NOWHERE),
    TransferDamage(
        "{saga} is known, but its source's shard has no row of it",
        ADMITTED,
        sql="DELETE FROM transfer " + _THIS_ROW,
    ),
    TransferDamage(
        "{saga} was admitted for batch 7, which has not decided it and does not run",
        NOWHERE,
        TARGET,
        _ADMISSION.replace("state)", "state, batch_id)").replace("'open')", "'open', '7')"),
        Work.ABSENT,
    ),
    TransferDamage("{saga} is pending, and nobody works on it", PENDING),
    TransferDamage(
        "10.00 USD passed through clearing for {saga}, which is declined",
        CAPTURED,
        sql="UPDATE transfer SET state = 'declined', reason = 'cancelled', detail = '' " + _THIS_ROW,
    ),
    TransferDamage(
        "10.00 USD passed through clearing for {saga}, which is moved within a shard",
        CAPTURED,
        sql="UPDATE transfer SET protocol = 'local' " + _THIS_ROW,
        work=Work.OPEN,
    ),
    TransferDamage(
        "{saga} was admitted over 10.01 USD for account {target}, which is not what was asked for",
        ADMITTED,
        TARGET,
        "UPDATE admission SET amount = amount + 1 WHERE saga_id = '{saga}'",
        Work.OPEN,
    ),
    TransferDamage("{saga} was moved within a shard, but was admitted on ", LOCAL, TARGET, _ADMISSION),
    TransferDamage(
        "{saga} is confirmed, but its admission is withdrawn",
        CAPTURED,
        TARGET,
        "UPDATE admission SET state = 'withdrawn' WHERE saga_id = '{saga}'",
        Work.OPEN,
    ),
    TransferDamage(
        "{saga} is declined, but its target was credited",
        DECLINED,
        TARGET,
        "UPDATE admission SET state = 'credited' WHERE saga_id = '{saga}'",
    ),
    TransferDamage("{saga} is declined, its admission is open still, and nobody works on it", DECLINED),
)
