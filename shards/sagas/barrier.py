"""The barrier: each step of a saga takes effect at most once, in whatever order its calls arrive.

One row per (saga id, step, do or undo), written in the effect's own transaction on the effect's own shard.
The idea is DTM's sub-transaction barrier: https://en.dtm.pub/practice/barrier.html

| call | what happens |
| --- | --- |
| do | runs the effect and stores its result, refusals included |
| do again, also concurrently | returns the stored result |
| undo | runs the compensation |
| undo again | changes nothing |
| undo before do (null compensation) | marks the step as undone, nothing else |
| do after undo (hanging) | returns `ALREADY_COMPENSATED`; never a stored "ok" for an undone step |

Locks are taken in one order everywhere: barrier row, order row, account row, stock rows by SKU. An insert waits for a
concurrent one of the same key, and every path takes its barrier row first, so duplicates queue up here instead of
deadlocking later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from pydantic import TypeAdapter
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from domain.sagas import ALREADY_COMPENSATED, Refusal
from shards.routing.shard_transaction import ShardTransaction

T = TypeVar("T")

_CLAIM = text("""
    INSERT INTO barrier (saga_id, step, op, keyspace, slot, result)
    VALUES (:saga_id, :step, :op, :keyspace, :slot, :result) ON CONFLICT DO NOTHING
""").bindparams(bindparam("result", type_=JSONB(none_as_null=True)))
_CLAIM_ALL = text("""
    INSERT INTO barrier (saga_id, step, op, keyspace, slot)
    SELECT :saga_id, step, op, :keyspace, :slot
    FROM unnest(CAST(:steps AS text[])) WITH ORDINALITY AS s (step, n), unnest(ARRAY['undo', 'do']) AS o (op)
    ORDER BY n, op DESC ON CONFLICT DO NOTHING
""")

_READ = text("SELECT op, result FROM barrier WHERE saga_id = :saga_id AND step = :step")

_REASON = TypeAdapter[Refusal | None](Refusal | None)


async def do_once(
    tx: ShardTransaction, saga_id: str, step: str, effect: Callable[[], Awaitable[T]], result_type: TypeAdapter[T]
) -> T | Refusal:
    """Returns `effect`'s result, computed now or stored before; `ALREADY_COMPENSATED` if the step was undone.

    Undone by `undo_once` with the same saga id and step. A crash leaves all of it or nothing.
    """
    if await _claim(tx, saga_id, step, "do"):
        result = await effect()
        tx.keep_result(saga_id, step, result_type.dump_python(result, mode="json"))
        return result
    rows = {row.op: row.result for row in await tx.execute(_READ, saga_id=saga_id, step=step)}
    return ALREADY_COMPENSATED if "undo" in rows else result_type.validate_python(rows["do"])


async def undo_once(
    tx: ShardTransaction,
    saga_id: str,
    step: str,
    compensation: Callable[[], Awaitable[None]],
    reason: Refusal | None = None,
) -> Refusal | None:
    """Runs `compensation` if the step was done and not undone yet; otherwise only bars it from ever being done.

    Idempotent. Cannot be undone. Returns the reason that the first undo gave. A crash leaves all of it or nothing.
    """
    given = _REASON.dump_python(reason, mode="json")
    first = await _claim(tx, saga_id, step, "undo", given)
    # Claiming `do` waits for an attempt in flight and bars later ones.
    was_done = not await _claim(tx, saga_id, step, "do")
    if first and was_done:
        await compensation()
    if first:
        return reason
    rows = {row.op: row.result for row in await tx.execute(_READ, saga_id=saga_id, step=step)}
    return _REASON.validate_python(rows["undo"])


async def undo_records(tx: ShardTransaction, saga_id: str, steps: Sequence[str]) -> None:
    """Undoes steps whose only effect is an event: marks them, and bars them from running late. Waits for attempts in
    flight. All callers pass `steps` in the same order. Idempotent."""
    await tx.execute(_CLAIM_ALL, saga_id=saga_id, steps=list(steps), keyspace=tx.route.keyspace, slot=tx.route.slot)


async def _claim(tx: ShardTransaction, saga_id: str, step: str, op: str, result: object = None) -> bool:
    claimed = await tx.execute(
        _CLAIM, saga_id=saga_id, step=step, op=op, keyspace=tx.route.keyspace, slot=tx.route.slot, result=result
    )
    return claimed.rowcount == 1
