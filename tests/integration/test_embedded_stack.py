"""The embedded stack on its real servers: what survives each kill, and what is never touched."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from domain.errors import InvalidInput, Unreachable
from stack.embedded import postgres_files, server_user
from stack.embedded.lock import DirectoryLock
from stack.embedded.record import ProcessMark, StackRecord
from stack.embedded.stack import EmbeddedStack
from stack.embedded.status import StackStatus
from stack.embedded.temporal_server import TemporalServer
from stack.embedded.waiting import attempts
from stack.embedded.worker_process import WorkerProcess
from stack.settings import Settings, resolve_databases, resolve_owner_databases
from stack.temporal_client import connect

SHARDS = 2
WORKER = """
import json, os, pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ready = pathlib.Path(os.environ["SHARDWISE_READY_FILE"])
draft = ready.with_suffix(".new")
draft.write_text(json.dumps({"queues": ["orders"]}))
draft.replace(ready)
signal.pause()
"""
# With a second argument it dies while it copies the first file below a folder of that name.
FIRST_START = """
import asyncio, os, pathlib, signal, sys
def die(event, arguments):
    if event == "shutil.copyfile" and sys.argv[2] in str(arguments[1]):
        os.kill(os.getpid(), signal.SIGKILL)
if len(sys.argv) > 2:
    sys.addaudithook(die)
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings
folder = pathlib.Path(sys.argv[1])
asyncio.run(EmbeddedStack(folder, Settings(data_dir=folder)).start_servers(1, usual_ports=False))
"""


@pytest.fixture(scope="module", autouse=True)
def small_workers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerProcess, "command", lambda _: [sys.executable, "-P", "-c", WORKER])
        yield


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    data_dir = tmp_path_factory.mktemp("stack")
    (data_dir / "notes.txt").write_text("mine")
    return Settings(data_dir=data_dir)


@pytest.fixture(scope="module")
async def stack(settings: Settings) -> AsyncIterator[EmbeddedStack]:
    stack = EmbeddedStack(settings.data_dir, settings)
    yield stack
    await stack.stop()


@pytest.fixture
async def running(stack: EmbeddedStack) -> StackStatus:
    """The stack with everything up, whatever state the test before left it in."""
    await start(stack)
    return await stack.status()


async def start(stack: EmbeddedStack) -> list[str]:
    done = await stack.start_servers(SHARDS, usual_ports=False)
    return done + await stack.start_workers(2)


def pids(status: StackStatus) -> dict[str, int]:
    parts = [*status.shards, status.catalog, *status.workers]
    found = {part.name: part.pid for part in parts} | {"temporal": status.temporal.pid}
    return {name: pid for name, pid in found.items() if pid is not None}


def processes_of(data_dir: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(str(data_dir)):
                found.append(process)
    return found


async def execute(dsn: str, *statements: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        rows: list[asyncpg.Record] = []
        for statement in statements:
            rows = await connection.fetch(statement)
        return rows
    finally:
        await connection.close()


async def test_a_first_start_makes_everything_and_leaves_other_files_alone(
    stack: EmbeddedStack, settings: Settings, running: StackStatus
) -> None:
    assert running.all_up
    assert [shard.name for shard in running.shards] == ["shard-1", "shard-2"]
    assert [worker.queues for worker in running.workers] == [["orders"], ["orders"]]
    assert (settings.data_dir / "notes.txt").read_text() == "mine"
    assert stat.S_IMODE(StackRecord.path(settings.data_dir).stat().st_mode) == 0o600


async def test_servers_are_made_for_two_phase_commit_and_durable(settings: Settings, running: StackStatus) -> None:
    wanted = {"max_prepared_transactions": "64", "wal_level": "logical", "fsync": "on", "max_connections": "200"}
    databases = resolve_owner_databases(settings)
    for dsn in (*databases.shards.values(), databases.catalog, databases.read_model):
        rows = await execute(dsn, "SELECT name, setting FROM pg_settings")
        assert {row["name"]: row["setting"] for row in rows}.items() >= wanted.items()
        assert await execute(dsn, "SHOW unix_socket_directories") == [("",)]


async def test_a_second_start_does_nothing(stack: EmbeddedStack, running: StackStatus) -> None:
    assert await start(stack) == []
    assert await stack.status() == running


async def test_down_leaves_no_process_and_up_finds_the_data(stack: EmbeddedStack, settings: Settings) -> None:
    await start(stack)
    before = resolve_owner_databases(settings)
    await execute(before.shards["shard-2"], "CREATE TABLE kept AS SELECT 7 AS value")
    await stack.stop()
    assert processes_of(stack.data_dir) == []
    assert not (await stack.status()).any_process
    assert await stack.stop() == []
    await start(stack)
    assert resolve_owner_databases(settings) == before
    assert await execute(before.shards["shard-2"], "SELECT value FROM kept") == [(7,)]


async def test_in_a_stack_of_an_earlier_release_the_owners_workers_end_and_a_role_is_made_once(
    stack: EmbeddedStack, settings: Settings, running: StackStatus
) -> None:
    record = StackRecord.load(settings.data_dir)
    record.role_password = None
    record.save(settings.data_dir)
    assert resolve_databases(settings) == resolve_owner_databases(settings)
    await start(stack)
    drawn = StackRecord.load(settings.data_dir).role_password
    assert drawn is not None
    assert resolve_databases(settings) != resolve_owner_databases(settings)
    before, after = pids(running), pids(await stack.status())
    assert {name for name in after if after[name] != before[name]} == {"worker-1", "worker-2"}
    assert await start(stack) == []
    assert StackRecord.load(settings.data_dir).role_password == drawn


async def kill(pid: int) -> None:
    """Returns when its last thread is gone. Until then its port is taken."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.kill()
        async for _ in attempts(30):
            if process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1:
                return


async def test_only_what_was_killed_is_started_again(stack: EmbeddedStack, running: StackStatus) -> None:
    for name in ("shard-1", "catalog", "temporal", "worker-2"):
        before = pids(await stack.status())
        await kill(before[name])
        done = await start(stack)
        after = await stack.status()
        assert after.all_up
        assert [line.split()[:2] for line in done] == [["started", name]]
        assert {part for part, pid in pids(after).items() if pid != before[part]} == {name}


async def test_data_and_workflows_survive_the_kill_of_everything(
    stack: EmbeddedStack, settings: Settings, running: StackStatus
) -> None:
    dsn = resolve_owner_databases(settings).shards["shard-1"]
    client = await connect(settings)
    await client.start_workflow("Waits", id="survivor", task_queue="nobody")
    await execute(dsn, "CREATE TABLE survivor AS SELECT 1 AS value")
    for pid in pids(running).values():
        await kill(pid)
    await start(stack)
    assert (await stack.status()).all_up
    assert await execute(dsn, "SELECT value FROM survivor") == [(1,)]
    description = await (await connect(settings)).get_workflow_handle("survivor").describe()
    assert description.status is not None
    assert description.status.name == "RUNNING"


async def test_a_frozen_worker_is_not_up(stack: EmbeddedStack, running: StackStatus) -> None:
    pid = pids(running)["worker-1"]
    os.kill(pid, signal.SIGSTOP)
    try:
        async for _ in attempts(30):  # The kernel stops it when it is next scheduled.
            if psutil.Process(pid).status() == psutil.STATUS_STOPPED:
                break
        frozen = await stack.status()
        assert (frozen.workers[0].pid, frozen.workers[0].up, frozen.all_up) == (pid, False, False)
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_process_that_was_never_written_down_is_replaced_or_stopped(
    stack: EmbeddedStack, running: StackStatus
) -> None:
    record = StackRecord.load(stack.data_dir)
    record.processes.clear()
    record.save(stack.data_dir)
    await start(stack)
    now = await stack.status()
    assert now.all_up
    assert not set(pids(now).values()) & set(pids(running).values())
    record.save(stack.data_dir)
    await stack.stop()
    assert processes_of(stack.data_dir) == []


async def test_a_foreign_process_with_a_recorded_pid_or_in_a_folder_of_ours_is_not_killed(stack: EmbeddedStack) -> None:
    await start(stack)
    folder = stack.data_dir / "postgres" / "shard-1"
    foreign = await asyncio.create_subprocess_exec("sleep", "60", cwd=folder)
    try:
        record = StackRecord.load(stack.data_dir)
        ours = record.processes["worker-1"]
        record.processes["worker-1"] = ProcessMark(pid=foreign.pid, started_at=ours.started_at - 3600)
        record.save(stack.data_dir)
        await stack.stop()
        assert [process.pid for process in processes_of(stack.data_dir)] == [foreign.pid]
    finally:
        foreign.kill()
        await foreign.wait()


async def test_another_number_of_shards_is_refused_and_changes_nothing(stack: EmbeddedStack) -> None:
    await start(stack)
    before = StackRecord.load(stack.data_dir)
    with pytest.raises(InvalidInput, match="holds 2 shards, not 3"):
        await stack.start_servers(3)
    assert StackRecord.load(stack.data_dir) == before


async def test_the_number_of_workers_can_change_and_is_remembered(stack: EmbeddedStack, running: StackStatus) -> None:
    assert await stack.start_workers(1) == ["stopped worker-2"]
    assert await stack.start_workers() == []
    assert [worker.name for worker in (await stack.status()).workers] == ["worker-1"]


async def test_a_second_start_waits_for_the_first(settings: Settings, running: StackStatus) -> None:
    said: list[str] = []
    second = EmbeddedStack(settings.data_dir, settings, said.append)
    async with DirectoryLock(second.data_dir, said.append).held():
        waiting = asyncio.create_task(second.start_servers())
        async for _ in attempts(10):
            if said:
                break
        assert "waiting" in said[0]
        assert not waiting.done()
        with pytest.raises(InvalidInput, match="still works on"):
            await hold_briefly(second.data_dir)
    assert await waiting == []


async def hold_briefly(data_dir: Path) -> None:
    async with DirectoryLock(data_dir, lambda _: None, wait_seconds=0.05).held():
        raise AssertionError("the lock was given twice")


async def test_a_taken_port_moves_a_stack_at_rest_and_stops_a_running_one(stack: EmbeddedStack) -> None:
    await start(stack)
    await stack.stop()
    port = StackRecord.load(stack.data_dir).ports["shard-1"]
    with listening(port):
        done = await start(stack)
        moved = StackRecord.load(stack.data_dir).ports["shard-1"]
        assert moved != port
        assert f"moved shard-1 to port {moved}: {port} is taken" in done
        assert (await stack.status()).all_up
    os.kill(pids(await stack.status())["shard-1"], signal.SIGKILL)
    await wait_free(moved)
    with listening(moved), pytest.raises(Unreachable, match=f"port {moved} of shard-1 is taken"):
        await start(stack)


async def wait_free(port: int) -> None:
    async for _ in attempts(10):
        with contextlib.suppress(OSError), listening(port):
            return
    raise AssertionError(f"port {port} stays taken")


@contextlib.contextmanager
def listening(port: int) -> Iterator[None]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        yield


async def _kill_once_there_is(data_dir: Path, moment: Path) -> None:
    first = await asyncio.create_subprocess_exec(sys.executable, "-c", FIRST_START, str(data_dir))
    async for _ in attempts(30):
        if moment.exists() or first.returncode is not None:
            break
    assert first.returncode is None
    first.kill()
    await first.wait()


async def test_a_first_start_killed_at_any_point_is_repaired_by_the_next(tmp_path: Path) -> None:
    data_dir = tmp_path / "killed"
    postgres = data_dir / "postgres"
    again = EmbeddedStack(data_dir, Settings(data_dir=data_dir))
    try:
        await _kill_once_there_is(data_dir, postgres / ".template.new" / "base")
        # Too short to be hit from outside.
        copying = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FIRST_START, str(data_dir), ".shard-1.new/global"
        )
        assert await copying.wait() == -signal.SIGKILL
        assert (postgres / ".shard-1.new").exists()
        await _kill_once_there_is(data_dir, postgres / "shard-1" / "postmaster.pid")
        await again.start_servers(1, usual_ports=False)
        status = await again.status()
        assert status.temporal.up
        assert status.catalog.up
        assert [shard.up for shard in status.shards] == [True]
        assert not list(postgres.glob(".*"))
    finally:
        await again.stop()
    assert processes_of(data_dir) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_root_drops_to_an_ordinary_user_if_namespaces_are_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_user, "namespaces_allowed", lambda: False)
    with tempfile.TemporaryDirectory() as place:
        home, closed = Path(place, "system"), Path(place, "closed")
        closed.mkdir(mode=0o700)
        Path(place).chmod(0o711)
        monkeypatch.setattr(postgres_files, "SYSTEM_HOME", home)
        for data_dir in (closed / "data", Path(place, "open")):
            stack = EmbeddedStack(data_dir, Settings(data_dir=data_dir))
            try:
                await stack.start_servers(1, usual_ports=False)
                status = await stack.status()
                assert status.catalog.up
                assert psutil.Process(status.catalog.pid).uids().real != 0
                assert (data_dir / "postgres").exists() == (data_dir.name == "open")
            finally:
                await stack.remove()
            assert not data_dir.exists()
            assert not home.exists() or list(home.iterdir()) == []


def test_temporal_gets_a_user_name_if_its_user_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USER", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setenv("TEMPORAL_ADDRESS", "elsewhere:7233")
    record = StackRecord(shards=[], ports={})
    environment = TemporalServer(tmp_path, tmp_path / "log", Path, record).environment()
    assert environment["USER"]
    assert environment["HOME"]
    assert "TEMPORAL_ADDRESS" not in environment


async def test_a_stack_without_its_record_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "shard-1").mkdir(parents=True)
    with pytest.raises(InvalidInput, match="password is gone"):
        await EmbeddedStack(tmp_path, Settings(data_dir=tmp_path)).start_servers()
    with pytest.raises(Unreachable, match="run `shardwise up --detach`"):
        resolve_databases(Settings(data_dir=tmp_path))
