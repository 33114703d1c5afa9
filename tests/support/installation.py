"""The servers of one test run, started once: one Temporal server, and one Postgres server for each test process.

They are kept by a process of their own, which ends them as soon as its standard input ends: after the last test, and
also when the run was interrupted, killed or never came to collect a test. What is left of the embedded stacks that
tests have made below `Installation.stacks`, and of other processes that work there, is ended with them.

All of it is in memory where there is room: to copy databases and to write what is thrown away again costs more on a
disk than most tests do. Nothing here has to survive a power cut.

Each process has a Postgres server of its own because positions in the outbox are a whole server's: a transaction that
one test leaves open would hide the events of all others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from stack.embedded.processes import Process, kill
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings
from tests.support.postgres import scratch_servers
from tests.support.temporal import scratch_temporal

REPOSITORY = Path(__file__).resolve().parents[2]
# A fifth of what Temporal's server computes is collecting garbage, unless it may use some memory.
GARBAGE = {"GOGC": "400", "GOMEMLIMIT": "1200MiB"}
MEMORY = Path("/dev/shm")
# Four embedded stacks, the servers of the run, and twice as much again.
MEMORY_BYTES_MIN = 6 * 1024**3
STARTS_WITHIN_SECONDS = 180
ENDS_WITHIN_SECONDS = 60


@dataclass(frozen=True)
class Installation:
    """Servers of one test process. `postgres`: the DSN of its server's maintenance database; `templates`: by part,
    databases of that server that `shardwise migrate` has made; `temporal`: host and port; `stacks`: a folder."""

    postgres: str
    templates: dict[str, str]
    temporal: str
    stacks: Path


class Keeper:
    """The process that keeps the servers, seen from the one that starts it."""

    def __init__(self, test_processes: int) -> None:
        """Returns at once: `installation` waits for the servers. Temporary files of this process, and of those that it
        starts, go where the servers' are."""
        place = quick_place()
        if place is not None:
            os.environ.update(GARBAGE)
        self.folder = Path(tempfile.mkdtemp(prefix="shardwise-tests-", dir=place))
        self.folder.chmod(0o711)  # Postgres may have to run as another user.
        temporary = self.folder / "temporary"
        temporary.mkdir(0o711)
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        with (self.folder / "keeper.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.installation", str(self.folder), str(test_processes)],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # A Ctrl-C at the terminal is for the tests.
            )

    def end(self) -> None:
        """Returns when the servers are gone, and their folder with them."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(ENDS_WITHIN_SECONDS)


def quick_place() -> Path | None:
    """A file system in memory with room for a run. None if there is none, as in most containers."""
    try:
        system = os.statvfs(MEMORY)
    except OSError:
        return None
    free = min(system.f_bavail * system.f_frsize, psutil.virtual_memory().available)
    is_fit = free >= MEMORY_BYTES_MIN and not system.f_flag & os.ST_NOEXEC and os.access(MEMORY, os.W_OK)
    return MEMORY if is_fit else None


def installation(folder: Path, test_process: int) -> Installation:
    """The servers that the keeper of this folder has for one of the test processes, as soon as they run."""
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while not (folder / "servers.json").exists():
        assert time.monotonic() < deadline, "the servers do not start"
        time.sleep(0.05)
    servers = json.loads((folder / "servers.json").read_text())
    assert "error" not in servers, f"the servers did not start: {servers['error']}"
    # One that takes the place of a process that died shares its server.
    postgres = servers["postgres"][test_process % len(servers["postgres"])]
    return Installation(postgres, servers["templates"], servers["temporal"], folder / "stacks")


async def _keep(folder: Path, test_processes: int) -> None:
    """Until standard input ends. SIGTERM and SIGINT mean the same."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, over.set)
    watching = asyncio.create_task(_until_end_of_input(over))
    try:
        async with _servers(folder, test_processes) as addresses:
            _publish(folder, addresses)
            await over.wait()
    except Exception as error:
        _publish(folder, {"error": str(error)})
        await over.wait()
    finally:
        watching.cancel()


async def _until_end_of_input(over: asyncio.Event) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    over.set()


@contextlib.asynccontextmanager
async def _servers(folder: Path, test_processes: int) -> AsyncIterator[dict[str, object]]:
    places = {name: folder / name for name in ("postgres", "temporal", "stacks")}
    for place in places.values():
        place.mkdir()
    async with (
        _ending_what_is_left(folder, places["stacks"]),
        scratch_temporal(places["temporal"]) as temporal,
        scratch_servers(places["postgres"], test_processes) as (servers, templates),
    ):
        address = temporal.service_client.config.target_host
        yield {"postgres": servers, "templates": templates, "temporal": address}


@contextlib.asynccontextmanager
async def _ending_what_is_left(folder: Path, stacks: Path) -> AsyncIterator[None]:
    """After the block, none of the stacks runs, and nothing else works in the folder of the run: a test that failed may
    have left a server in its own temporary folder."""
    yield
    for record in stacks.glob("**/stack.json"):
        await EmbeddedStack(record.parent, Settings(data_dir=record.parent)).stop()
    for process in working_below(folder):
        kill(process)


def working_below(folder: Path) -> list[Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


def _publish(folder: Path, document: dict[str, object]) -> None:
    draft = folder / "servers.new"
    draft.write_text(json.dumps(document))
    draft.rename(folder / "servers.json")


if __name__ == "__main__":
    asyncio.run(_keep(Path(sys.argv[1]), int(sys.argv[2])))
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    # Threads of the Temporal client can crash an ordinary interpreter exit.
    os._exit(0)
