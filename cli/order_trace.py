"""`order trace`: the path of one order."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from cli.common import DataDir, run_async
from cli.connections import Connections, connected
from cli.order_desk import OrderDesk
from cli.output import output
from cli.trace.documents import TraceDocument
from cli.trace.read import trace_order
from cli.trace.tree import TraceTree
from domain.errors import Refused, Unreachable
from stack.settings import Settings, load_settings


def trace(
    order_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    data_dir: DataDir = None,
) -> None:
    """Show the path of an order: each step, its attempts and its shard, the decision, and what was undone.

    From Temporal's history and the shards' rows; what is away is left out, and said.
    """
    found = run_async(_trace(load_settings(data_dir), order_id))
    output().result(found, TraceTree(found))


async def _trace(settings: Settings, order_id: str) -> TraceDocument:
    async with connected(settings) as to:
        try:
            found = await trace_order(to, order_id)
        except Refused:
            await _assert_let_in(to, settings, order_id)
            raise
        if not found.steps:
            await _assert_let_in(to, settings, order_id)
        return found


async def _assert_let_in(to: Connections, settings: Settings, order_id: str) -> None:
    """`Refused`, in the words of `order show`, where the order was refused at its start. Quiet where nobody answers."""
    with contextlib.suppress(Unreachable):
        await OrderDesk(to, settings).show(order_id)
