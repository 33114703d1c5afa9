"""A demo that is interrupted, and interrupted again while it cleans up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

SECONDS_MAX = 60
PARTS_BEGUN = 3


def test_however_often_it_is_interrupted_the_demo_leaves_nothing_and_says_so_in_one_document(
    tmp_path: Path,
) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHARDWISE_")}
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "cli", "demo", "--json"],
        env={**inherited, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        said: list[str] = []
        reading = threading.Thread(target=lambda: said.extend(demo.stderr or ()))
        reading.start()
        try:
            _await(lambda: sum(line.startswith("starting ") for line in said) >= PARTS_BEGUN, said)
            demo.send_signal(signal.SIGINT)
            _await(lambda: any(line.startswith("stopping ") for line in said), said)
            while demo.poll() is None:
                demo.send_signal(signal.SIGINT)
                time.sleep(0.05)
            assert demo.stdout is not None
            document = json.load(demo.stdout)
        finally:
            demo.kill()
            reading.join()
    assert (demo.returncode, document["error"]["code"]) == (130, "interrupted"), said
    assert list(tmp_path.iterdir()) == []
    assert _working_below(tmp_path) == []
    assert "Traceback" not in "".join(said)


def _await(holds: Callable[[], bool], said: list[str]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline, said
        time.sleep(0.02)


def _working_below(folder: Path) -> list[psutil.Process]:
    return [each for each in psutil.process_iter(["cwd"]) if (each.info["cwd"] or "").startswith(str(folder))]
