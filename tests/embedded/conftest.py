"""One embedded stack for the session, whose parts the tests kill and look into."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.settings import Settings
from stack.temporal_client import connect
from tests.support.command import Shardwise
from tests.support.installation import Installation
from tests.support.secrecy import assert_files_secret_free, assert_histories_secret_free, process_list_watched

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="session")
def shardwise(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shardwise]:
    """A stack with one worker and the sample of tests/data. When all tests are over, none of its passwords may be in
    a log or a history, nor have been in a command line while it was made."""
    command = Shardwise(installation.stacks / tmp_path_factory.getbasetemp().name)
    try:
        with process_list_watched(lambda: command.secrets):
            command.take_free_ports()
            up = command("up", "--detach", "--workers", "1")
            assert up.exit_code == 0, up.stderr
            assert command("import", "customers", str(DATA / "customers.csv")).exit_code == 0
            assert command("import", "products", str(DATA / "products.csv")).exit_code == 0
        yield command
        asyncio.run(_assert_nothing_leaked(command))
    finally:
        assert command("down").exit_code == 0


async def _assert_nothing_leaked(command: Shardwise) -> None:
    assert len(command.secrets) == 2
    assert_files_secret_free((command.data_dir / "logs").iterdir(), command.secrets)
    await assert_histories_secret_free(await connect(Settings(data_dir=command.data_dir)), command.secrets)
