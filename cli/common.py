"""What commands share: options, settings, and running something asynchronous to its exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

Result = TypeVar("Result")

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="The stack's folder.  [default: SHARDWISE_DATA_DIR, else .shardwise]",
        show_default=False,
        file_okay=False,
    ),
]
"""For every command that needs the stack: `data_dir: DataDir = None`, then `load_settings(data_dir)`."""


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end. Ctrl-C cancels the work, lets it clean up, and raises KeyboardInterrupt."""
    return asyncio.run(work)


async def within(work: Coroutine[Any, Any, Result], seconds: float) -> Result:
    """`work`'s result, or TimeoutError after `seconds`, whether or not it lets itself be cancelled.

    A task of its own: the Temporal client turns its cancellation into errors of other kinds, which `asyncio.timeout`
    would take for failures.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        finished, _ = await asyncio.wait({task}, timeout=seconds)
        if not finished:
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()
