"""`order trace`: the path of one order."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from cli.common import DataDir, run_async
from cli.connections import connected
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
        found = unknown = None
        try:
            found = await trace_order(to, order_id)
        except Refused as refused:
            unknown = refused
        if found is None or not found.steps:
            # Perhaps it was refused at its start, which `order show` tells. What is away is no fault of a trace.
            with contextlib.suppress(Unreachable):
                await OrderDesk(to, settings).show(order_id)
        if found is None:
            assert unknown is not None
            raise unknown
        return found
