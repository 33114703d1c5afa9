"""The product as its users have it: the command `shardwise`, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.main import run
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings

COMMAND_SECONDS_MAX = 150
FOLLOWS_SECONDS_MAX = 30


@dataclass(frozen=True)
class Answer:
    exit_code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict[str, Any]:
        """The one document on stdout; anything else there is an error."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document


@dataclass(frozen=True)
class Shardwise:
    """The command, on one data directory."""

    data_dir: Path

    def __call__(self, *arguments: str, **settings: str) -> Answer:
        """Run with `--json` last. `settings`: SHARDWISE_ variables, in lower case without the prefix."""
        with self.begin(*arguments, **settings) as process:
            stdout, stderr = process.communicate(timeout=COMMAND_SECONDS_MAX)
        assert "Traceback" not in stderr, stderr
        return Answer(process.returncode, stdout, stderr)

    def inside(self, *arguments: str) -> Answer:
        """The same in this process, whose start takes longer than most commands do; without what goes to stderr."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out), ThreadPoolExecutor(1) as thread:
            # A thread of its own, which has no event loop yet.
            code = thread.submit(run, [*arguments, "--data-dir", str(self.data_dir), "--json"]).result()
        return Answer(code, out.getvalue(), "")

    def once(self, holds: Callable[[dict[str, Any]], bool], *arguments: str) -> dict[str, Any]:
        """The document of a query as soon as it `holds`: the read model follows the shards with a delay."""
        deadline = time.monotonic() + FOLLOWS_SECONDS_MAX
        while True:
            answer = self.inside(*arguments)
            if answer.exit_code == 0 and holds(answer.document):
                return answer.document
            assert time.monotonic() < deadline, answer
            time.sleep(0.05)

    def begin(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHARDWISE_")}
        chosen = {f"SHARDWISE_{name.upper()}": value for name, value in settings.items()}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", *arguments, "--json"],
            env={**inherited, "SHARDWISE_DATA_DIR": str(self.data_dir), **chosen},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def take_free_ports(self) -> None:
        """Servers on ports that no other stack chooses first: a dead server's must be free when it is back."""
        settings = Settings(data_dir=self.data_dir)
        asyncio.run(EmbeddedStack(self.data_dir, settings).start_servers(usual_ports=False))

    def money(self, account_id: str) -> tuple[str, str]:
        account = self.inside("account", "show", account_id).document
        return account["balance"], account["held"]

    def goods(self, sku: str) -> tuple[int, int]:
        level = self.inside("stock", "show", sku).document
        return level["on_hand"], level["reserved"]
