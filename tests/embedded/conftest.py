"""One embedded stack for the session, whose parts the tests kill and look into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import Shardwise
from tests.support.installation import Installation

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="session")
def shardwise(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shardwise]:
    """A stack with one worker and the sample of tests/data."""
    command = Shardwise(installation.stacks / tmp_path_factory.getbasetemp().name)
    try:
        command.take_free_ports()
        up = command("up", "--detach", "--workers", "1")
        assert up.exit_code == 0, up.stderr
        assert command("import", "customers", str(DATA / "customers.csv")).exit_code == 0
        assert command("import", "products", str(DATA / "products.csv")).exit_code == 0
        yield command
    finally:
        assert command("down").exit_code == 0
