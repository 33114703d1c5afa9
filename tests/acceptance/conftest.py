"""One real stack for the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Shardwise


@pytest.fixture(scope="session")
def shardwise(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shardwise]:
    """A stack with one worker and the sample of tests/data."""
    command = Shardwise(tmp_path_factory.mktemp("stack"))
    data = Path(__file__).parent.parent / "data"
    try:
        command.take_free_ports()
        up = command("up", "--detach", "--workers", "1")
        assert up.exit_code == 0, up.stderr
        assert command("import", "customers", str(data / "customers.csv")).exit_code == 0
        assert command("import", "products", str(data / "products.csv")).exit_code == 0
        yield command
    finally:
        assert command("down").exit_code == 0
