"""The three things that hold a saga together, each broken on purpose, to see that the battery notices."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import text

from domain.sagas import Refusal
from shards.orders import decision
from shards.routing.shard_transaction import ShardTransaction
from shards.sagas import barrier
from shards.transfers import admissions, transfer_row
from workflows.orders import placement as order_placement
from workflows.orders import reactor_workflow
from workflows.orders import saga as order_saga
from workflows.transfers import transfer


def break_the_barrier() -> None:
    """Its rows are written and never read: steps run whenever they are called, and so do compensations."""

    async def do(
        tx: ShardTransaction, saga_id: str, step: str, effect: Callable[[], Awaitable[Any]], kind: TypeAdapter[Any]
    ) -> Any:
        await barrier._claim(tx, saga_id, step, "do")
        result = await effect()
        tx.keep_result(saga_id, step, kind.dump_python(result, mode="json"))
        return result

    async def undo(
        tx: ShardTransaction,
        saga_id: str,
        step: str,
        compensation: Callable[[], Awaitable[None]],
        reason: Refusal | None = None,
    ) -> Refusal | None:
        await barrier._claim(tx, saga_id, step, "undo", TypeAdapter(Refusal | None).dump_python(reason, mode="json"))
        await barrier._claim(tx, saga_id, step, "do")
        await compensation()
        return reason

    setattr(barrier, "do_once", do)  # noqa: B010
    setattr(barrier, "undo_once", undo)  # noqa: B010
    # A transfer's admission is its own barrier.
    _unconditional(admissions, "_ADVANCE", "AND state = 'open'")


def break_the_decision() -> None:
    """The row accepts every decision, whatever was decided before."""
    for name in ("_CONFIRM_AND_SHIP", "_ABORT"):
        _unconditional(decision, name, "AND state = 'pending'")
    _unconditional(transfer_row, "_DECIDE", "AND state = 'pending'")


def break_the_shield() -> None:
    """A bare `asyncio.shield`, which returns at once when it is cancelled."""

    async def shielded(work: Coroutine[Any, Any, Any], _: Callable[[], None]) -> Any:
        return await asyncio.shield(work)

    setattr(order_saga, "shielded", shielded)  # noqa: B010
    setattr(transfer, "shielded", shielded)  # noqa: B010
    setattr(reactor_workflow, "shielded", shielded)  # noqa: B010
    setattr(order_placement, "shielded", shielded)  # noqa: B010


def _unconditional(module: ModuleType, statement: str, condition: str) -> None:
    setattr(module, statement, text(str(getattr(module, statement)).replace(condition, "")))


BREAKS: dict[str, Callable[[], None]] = {
    "barrier": break_the_barrier,
    "decision": break_the_decision,
    "shield": break_the_shield,
}
