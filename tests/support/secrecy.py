"""Searches for passwords wherever they could be read."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from temporalio.client import Client

EVERY_SECONDS = 0.05


def assert_secret_free(text: str, secrets: Collection[str], where: str) -> None:
    """Never shows the password that it finds."""
    for secret in secrets:
        assert secret not in text, f"{where} holds a password"


def assert_files_secret_free(files: Iterable[Path], secrets: Collection[str]) -> None:
    looked = 0
    for file in files:
        assert_secret_free(file.read_text(errors="replace"), secrets, str(file))
        looked += 1
    assert looked > 0


async def assert_histories_secret_free(client: Client, secrets: Collection[str]) -> None:
    """Of every workflow that the namespace knows: payloads, failures, details, search attributes."""
    looked = 0
    async for workflow in client.list_workflows():
        history = await client.get_workflow_handle(workflow.id, run_id=workflow.run_id).fetch_history()
        # As it travels: JSON would have the payloads in base64.
        kept = b"".join(event.SerializeToString() for event in history.events) + workflow.raw_info.SerializeToString()
        assert_secret_free(kept.decode(errors="replace"), secrets, f"the history of {workflow.id}")
        looked += 1
    assert looked > 0


@contextlib.contextmanager
def process_list_watched(secrets_of: Callable[[], Collection[str]]) -> Iterator[None]:
    """Inside the block every command line on the machine is looked at again and again."""
    over, seen = threading.Event(), set[str]()

    def look() -> None:
        while not over.is_set():
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    seen.add("\0".join(process.cmdline()))
            over.wait(EVERY_SECONDS)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    for line in seen:
        assert_secret_free(line, secrets_of(), f"the command line of {line.split(chr(0))[0]}")
