"""`kill -9` of the worker in the middle of an import: nothing is lost, nothing happens twice."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.support.command import Shardwise
from tests.support.order_files import write_orders

ORDERS = 60
SECONDS_MAX = 60


def _confirmed(shardwise: Shardwise) -> int:
    listed = shardwise.inside("order", "list", "--status", "confirmed", "--limit", "1000").document["orders"]
    return sum(order["order_id"].startswith("K-") for order in listed)


def test_an_import_survives_the_death_of_the_worker(shardwise: Shardwise, tmp_path: Path) -> None:
    file = write_orders(tmp_path / "many.jsonl", "K", ORDERS)
    with shardwise.begin("import", "orders", str(file), "--stuck-after", "120") as importing:
        deadline = time.monotonic() + SECONDS_MAX
        while _confirmed(shardwise) < 5:
            assert time.monotonic() < deadline, "the import does not start"
        shardwise.kill_worker()
        down = shardwise.inside("status")
        assert (down.exit_code, down.document["workers"][0]["up"]) == (3, False)
        assert shardwise("up", "--detach").exit_code == 0
        during = shardwise.inside("verify")
        assert during.document["ok"], during.stdout
        stdout, stderr = importing.communicate(timeout=120)

    counts = json.loads(stdout)
    assert importing.returncode == 0, stderr
    assert counts["confirmed"] + counts["rejected"] == counts["total"] == ORDERS
    assert counts["failed"] == counts["pending"] == 0
    after = shardwise.inside("verify")
    assert (after.exit_code, after.document["in_flight"]["orders"]) == (0, 0)
