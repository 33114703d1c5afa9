"""`order trace`: the path of one order."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.orders.trace_tree import TraceTree
from cli.terminal.asking import ask
from cli.terminal.common import DataDir
from cli.terminal.output import output


def trace(
    order_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    data_dir: DataDir = None,
) -> None:
    """Show the path of an order: each step, its attempts and its shard, the decision, and what was undone.

    From Temporal's history and the shards' rows; what is away is left out, and said.
    """
    found = ask(data_dir, lambda app: app.operations.trace(order_id))
    output().result(found, TraceTree(found))
