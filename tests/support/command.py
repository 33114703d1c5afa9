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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import psutil  # type: ignore[import-untyped]
from sqlalchemy.engine import make_url
from temporalio.client import Client

from cli.main import run
from stack.embedded.record import OWNER, StackRecord
from stack.embedded.stack import EmbeddedStack
from stack.settings import Databases, Settings, load_settings, resolve_databases
from tests.support.secrecy import assert_secret_free

COMMAND_SECONDS_MAX = 150
FOLLOWS_SECONDS_MAX = 30
READY_SECONDS_MAX = 60
GONE_SECONDS_MAX = 30


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

    @property
    def content(self) -> dict[str, Any]:
        """The document without `read`: which server served it, and at which point, differs from read to read."""
        return {name: value for name, value in self.document.items() if name != "read"}


@dataclass(frozen=True)
class Shardwise:
    """The command, on one data directory. `own_servers`: variables that lead it elsewhere, see `on_own_servers`."""

    data_dir: Path
    own_servers: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, folder: Path | None = None, **settings: str) -> Answer:
        """Run with `--json` last, in `folder` or in ours. `settings`: SHARDWISE_ variables, in lower case without the
        prefix."""
        with self.begin(*arguments, folder=folder, **settings) as process:
            stdout, stderr = process.communicate(timeout=COMMAND_SECONDS_MAX)
        return self._answer(arguments, process.returncode, stdout, stderr)

    def inside(self, *arguments: str, **settings: str) -> Answer:
        """The same in this process, since to start another takes longer than most commands do. One at a time."""
        out, err = io.StringIO(), io.StringIO()
        with (
            self.led(**settings),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            ThreadPoolExecutor(1) as thread,
        ):
            # A thread of its own, which has no event loop yet.
            code = thread.submit(run, [*arguments, "--json"]).result()
        return self._answer(arguments, code, out.getvalue(), err.getvalue())

    def _answer(self, arguments: Sequence[str], code: int, stdout: str, stderr: str) -> Answer:
        assert "Traceback" not in stderr, stderr
        if "--show-secrets" not in arguments:
            assert_secret_free(stdout + stderr, self.secrets, " ".join(arguments))
        return Answer(code, stdout, stderr)

    @property
    def secrets(self) -> set[str]:
        """All passwords of the installation."""
        if self.own_servers:
            return {str(make_url(dsn).password) for dsn in self.databases.all}
        record = StackRecord.find(self.data_dir)
        known = [record.password, record.role_password] if record else []
        return {each.get_secret_value() for each in known if each}

    @contextlib.contextmanager
    def led(self, **settings: str) -> Iterator[None]:
        """Inside the block this process's own variables lead to the servers."""
        with mock.patch.dict(os.environ, self._variables(settings)):
            yield

    def _variables(self, settings: Mapping[str, str]) -> dict[str, str]:
        chosen = {f"SHARDWISE_{name.upper()}": value for name, value in settings.items()}
        return {"SHARDWISE_DATA_DIR": str(self.data_dir), **self.own_servers, **chosen}

    def led_by(self, **variables: str) -> Shardwise:
        """The same with these of its servers exchanged."""
        return replace(self, own_servers={**self.own_servers, **variables})

    @property
    def databases(self) -> Databases:
        with self.led():
            return resolve_databases(load_settings())

    def once(self, holds: Callable[[dict[str, Any]], bool], *arguments: str) -> dict[str, Any]:
        """The document of a query as soon as it `holds`: the read model follows the shards with a delay."""
        deadline = time.monotonic() + FOLLOWS_SECONDS_MAX
        while True:
            began = time.monotonic()
            answer = self.inside(*arguments)
            if answer.exit_code == 0 and holds(answer.document):
                return answer.document
            assert time.monotonic() < deadline, answer
            # The process that is waited for needs the processor too.
            time.sleep(2 * (time.monotonic() - began))

    def begin(self, *arguments: str, folder: Path | None = None, **settings: str) -> subprocess.Popen[str]:
        """In `folder`; None: in ours."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SHARDWISE_")}
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", *arguments, "--json"],
            cwd=folder,
            env={**inherited, **self._variables(settings)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def take_free_ports(self) -> None:
        """Servers on ports that no other stack chooses first: a dead server's must be free when it is back."""
        settings = Settings(data_dir=self.data_dir)
        asyncio.run(EmbeddedStack(self.data_dir, settings).start_servers(usual_ports=False))

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Inside the block a worker runs that is no part of an embedded stack, in its data directory."""
        ready = self.data_dir / "ready.json"
        with (
            (self.data_dir / "worker.log").open("w") as log,
            self.begin("worker", folder=self.data_dir, ready_file=str(ready)) as worker,
        ):
            drains = ThreadPoolExecutor(1).submit(lambda: log.writelines(worker.stderr or ()))
            try:
                deadline = time.monotonic() + READY_SECONDS_MAX
                while not ready.exists():
                    assert worker.poll() is None, "the worker does not start"
                    assert time.monotonic() < deadline, "the worker does not poll"
                    time.sleep(0.05)
                yield
            finally:
                worker.terminate()
                worker.wait(READY_SECONDS_MAX)
                drains.result()

    def kill_server(self, name: str) -> None:
        """`kill -9` of a Postgres server of the embedded stack. Returns when its orphaned backends, which would still
        answer for a moment, are gone too."""
        server = psutil.Process(StackRecord.load(self.data_dir).processes[name].pid)
        family = [server, *server.children(recursive=True)]
        server.kill()
        _, alive = psutil.wait_procs(family, timeout=GONE_SECONDS_MAX)
        assert alive == []

    def kill_worker(self) -> None:
        """`kill -9` of the only worker of the embedded stack. Returns when it is gone."""
        [worker] = self.inside("status").document["workers"]
        process = psutil.Process(worker["pid"])
        process.kill()
        _, alive = psutil.wait_procs([process], timeout=GONE_SECONDS_MAX)
        assert alive == []

    def money(self, account_id: str) -> tuple[str, str]:
        account = self.inside("account", "show", account_id).document
        return account["balance"], account["held"]

    def goods(self, sku: str) -> tuple[int, int]:
        level = self.inside("stock", "show", sku).document
        return level["on_hand"], level["reserved"]


def on_own_servers(folder: Path, databases: Databases, temporal: Client) -> Shardwise:
    """On servers that are no part of a stack, in the client's namespace."""
    return Shardwise(
        folder,
        {
            "SHARDWISE_SHARDS": json.dumps(databases.shards),
            "SHARDWISE_CATALOG_DSN": databases.catalog,
            "SHARDWISE_READ_MODEL_DSN": databases.read_model,
            "SHARDWISE_MIGRATION_USER": OWNER,
            "SHARDWISE_MIGRATION_PASSWORD": str(make_url(databases.catalog).password),
            "TEMPORAL_ADDRESS": temporal.service_client.config.target_host,
            "TEMPORAL_NAMESPACE": temporal.namespace,
        },
    )
