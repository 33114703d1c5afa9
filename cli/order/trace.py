"""`order trace`: the path of one order."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.order.trace_tree import TraceTree
from cli.terminal.application import call_app
from cli.terminal.options import DataDir
from cli.terminal.output import output


def trace(
    order_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    data_dir: DataDir = None,
) -> None:
    """Show the path of an order: each step, its attempts and its shard, the decision, and what was undone.

    From Temporal's history and the shards' rows. If one of them is down, the trace says what is missing.
    """
    found = call_app(data_dir, lambda app: app.operations.trace(order_id))
    output().result(found, TraceTree(found))
