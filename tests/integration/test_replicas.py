"""Replicas of an embedded shard on real servers: killed, frozen, cut off, destroyed, and what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped]
import pytest

from cli.embedded_stack import UpOptions, bring_up
from domain.errors import InvalidInput
from domain.replicas import ReplicaAddress
from shards.connections import replica_state
from shards.connections.cluster import Cluster
from shards.connections.replica_state import primary_position
from shards.monitoring.replicas import ReplicaDocument, replica_documents
from shardwise import Shardwise
from shardwise.operations.stack_status import StackReport
from stack.embedded import binaries, postgres_files, replica_server, server_user
from stack.embedded.processes import PART_VARIABLE
from stack.embedded.record import StackRecord
from stack.embedded.stack import EmbeddedStack
from stack.embedded.waiting import attempts
from stack.settings import Databases, Settings, resolve_databases
from tests.support.compose import project
from tests.support.secrecy import assert_files_secret_free

SHARD, REPLICA = "shard-1", "shard-1-replica-1"
SECONDS_MAX = 30


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_dir=tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="module")
async def stack(settings: Settings) -> AsyncIterator[EmbeddedStack]:
    stack = EmbeddedStack(settings.data_dir, settings)
    options = UpOptions(shards=1, workers=0, detach=True, replicas=1)
    await bring_up(stack, settings, options, lambda _: None, usual_ports=False)
    yield stack
    await stack.stop()


@pytest.fixture(autouse=True)
async def running(stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is up, however the test before left it. A replica that cannot stream, or says nothing, is given up soon."""
    monkeypatch.setattr(replica_server, "STREAM_SECONDS", 1.5)
    monkeypatch.setattr(replica_state, "ANSWER_SECONDS", 1.0)
    await up(stack)


async def up(stack: EmbeddedStack, replicas: int = 1) -> list[str]:
    return await stack.start_servers(usual_ports=False, replicas=replicas)


async def ask(stack: EmbeddedStack, server: str, *statements: str) -> object:
    """As the owner. The one value that the last statement returns."""
    connection = await asyncpg.connect(StackRecord.load(stack.data_dir).owner_dsn(server))
    try:
        value = None
        for statement in statements:
            value = await connection.fetchval(statement)
        return value
    finally:
        await connection.close()


def folder(stack: EmbeddedStack) -> Path:
    return stack.data_dir / "postgres" / REPLICA


def family(stack: EmbeddedStack) -> list[psutil.Process]:
    """The replica's processes, its postmaster first."""
    server = psutil.Process(StackRecord.load(stack.data_dir).processes[REPLICA].pid)
    return [server, *server.children(recursive=True)]


def kill(stack: EmbeddedStack) -> None:
    processes = family(stack)
    processes[0].kill()
    _, alive = psutil.wait_procs(processes, timeout=SECONDS_MAX)
    assert alive == []


def signal_all(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


async def look(settings: Settings, databases: Databases | None = None, lag_bytes_max: int = 10**7) -> ReplicaDocument:
    """How the only replica does."""
    at = databases or resolve_databases(settings)
    async with Cluster(at.shards, at.catalog, at.read_model, pool_size=1, replicas=at.replicas) as cluster:
        [found] = await replica_documents(cluster, lag_bytes_max)
    return found


async def becomes_fit(settings: Settings) -> None:
    async for _ in attempts(SECONDS_MAX):
        if (await look(settings, lag_bytes_max=0)).fit:
            return
    pytest.fail("it is not let back in")


async def status(settings: Settings) -> StackReport:
    async with await Shardwise.connect(settings=settings) as app:
        return await app.operations.status()


async def test_it_streams_without_a_slot_and_its_password_is_in_no_setting(
    stack: EmbeddedStack, settings: Settings
) -> None:
    await ask(stack, SHARD, "CREATE TABLE written AS SELECT 7 AS value")
    await becomes_fit(settings)
    assert await ask(stack, REPLICA, "SELECT value FROM written") == 7
    wanted = {"max_prepared_transactions": "64", "hot_standby_feedback": "off", "wal_retrieve_retry_interval": "500ms"}
    for name, value in wanted.items():
        assert await ask(stack, REPLICA, f"SHOW {name}") == value
    assert await ask(stack, SHARD, "SHOW wal_keep_size") == "256MB"
    assert await ask(stack, SHARD, "SELECT count(*) FROM pg_replication_slots") == 0
    assert "tcp_user_timeout" in str(await ask(stack, REPLICA, "SHOW primary_conninfo"))
    assert "primary_conninfo" not in (folder(stack) / "postgresql.auto.conf").read_text()
    secrets = {StackRecord.load(stack.data_dir).password.get_secret_value()}
    assert_files_secret_free([folder(stack) / "shardwise.conf", *(stack.data_dir / "logs").iterdir()], secrets)


async def test_a_second_start_does_nothing_and_a_restart_needs_no_clone(stack: EmbeddedStack) -> None:
    (folder(stack) / "same").touch()
    assert await up(stack) == []
    kill(stack)
    assert [line.partition(" on ")[0] for line in await up(stack)] == [f"started {REPLICA}"]
    assert (folder(stack) / "same").exists()


async def test_one_that_is_down_is_a_warning_and_no_alarm(stack: EmbeddedStack, settings: Settings) -> None:
    kill(stack)
    found = await status(settings)
    [replica] = found.document()["replicas"]
    assert (replica["name"], replica["shard"], replica["up"], replica["fit"]) == (REPLICA, SHARD, False, False)
    assert (replica["left_out"], replica["lag_bytes"], replica["lag_seconds"]) == ("unreachable", None, None)
    assert f"{REPLICA} does not answer: nothing listens on" in replica["why"]
    assert (found.all_up, found.alarm) == (True, False)
    async with await Shardwise.connect(settings=settings) as app:
        watched = await app.operations.look(0.2)
    assert [each.left_out for each in watched.replicas] == ["unreachable"]
    assert REPLICA not in [part.name for part in watched.parts]
    assert watched.exit_code == 0


async def test_a_frozen_one_is_left_out_let_back_in_and_stopped(stack: EmbeddedStack, settings: Settings) -> None:
    processes = family(stack)
    signal_all(processes, signal.SIGSTOP)
    await ask(stack, SHARD, "CREATE TABLE while_frozen AS SELECT 8 AS value", "CHECKPOINT")
    assert (await look(settings)).left_out == "unreachable"
    signal_all(processes, signal.SIGCONT)
    await becomes_fit(settings)
    assert await ask(stack, REPLICA, "SELECT value FROM while_frozen") == 8

    processes = family(stack)
    signal_all(processes, signal.SIGSTOP)
    # With each of its children waiting to be woken, it would be 20 s until the next signal.
    async with asyncio.timeout(15):
        done = await stack.stop()
    assert done.index(f"stopped {REPLICA}") < done.index(f"stopped {SHARD}")
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
    assert [each for each in psutil.process_iter() if works_below(each, stack.data_dir)] == []


def works_below(process: psutil.Process, place: Path) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return bool(process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()).is_relative_to(place))
    return False


async def test_one_that_is_far_behind_is_left_out_though_it_streams(stack: EmbeddedStack, settings: Settings) -> None:
    await ask(stack, SHARD, "CREATE TABLE little AS SELECT 1 AS n")
    await becomes_fit(settings)
    await ask(stack, REPLICA, "SELECT pg_wal_replay_pause()")
    await ask(stack, SHARD, "CREATE TABLE much AS SELECT generate_series(1, 10000) AS n")
    behind = await look(settings, lag_bytes_max=100_000)
    assert (behind.left_out, behind.streaming) == ("lagging", True)
    assert behind.lag_bytes is not None
    assert behind.lag_bytes > 100_000
    assert behind.lag_seconds is not None
    await ask(stack, REPLICA, "SELECT pg_wal_replay_resume()")
    await becomes_fit(settings)


async def test_at_rest_behind_a_new_segment_it_is_not_behind(stack: EmbeddedStack, settings: Settings) -> None:
    await ask(stack, SHARD, "CHECKPOINT", "SELECT pg_switch_wal()")
    await becomes_fit(settings)
    found = await look(settings)
    assert (found.lag_bytes, found.lag_seconds) == (0, 0.0)


async def test_what_is_not_known_is_said_and_what_is_no_replica_is_left_out(
    stack: EmbeddedStack, settings: Settings
) -> None:
    at = resolve_databases(settings)
    nowhere = "postgresql://u:p@127.0.0.1:1/nothing"

    async def left_out(shard: str, primary: str, replica: str) -> str | None:
        asked = Databases({shard: primary}, at.catalog, at.read_model, replicas={shard: [ReplicaAddress(replica, 2)]})
        found = await look(settings, asked)
        assert found.weight == 2
        return found.left_out

    primary, [replica] = at.shards[SHARD], at.replicas[SHARD]
    # Its primary has told it how far the log was written.
    assert await left_out(SHARD, nowhere, replica.dsn) is None
    assert await left_out(SHARD, primary, primary) == "not_in_recovery"
    assert await left_out("shard-2", primary, replica.dsn) == "other_server"
    assert await left_out(SHARD, primary, at.catalog) == "other_server"
    async with Cluster({SHARD: replica.dsn}, at.catalog, at.read_model, pool_size=1) as cluster:
        assert await primary_position(cluster.primaries[SHARD]) is None


async def test_a_replica_that_is_another_shards_is_refused_at_its_first_use(settings: Settings) -> None:
    at = resolve_databases(settings)
    replicas = {"shard-2": at.replicas[SHARD]}
    async with Cluster({"shard-2": at.shards[SHARD]}, at.catalog, at.read_model, replicas=replicas) as cluster:
        [replica] = cluster.replicas
        assert replica.name == "shard-2-replica-1"
        with pytest.raises(InvalidInput, match="call a database shard-2-replica-1 that is shard-1"):
            await replica.database.ping()
        assert replica.database.setting == "SHARDWISE_REPLICAS"


async def test_a_role_of_an_earlier_release_is_given_what_it_has_to_see(
    stack: EmbeddedStack, settings: Settings
) -> None:
    await ask(stack, SHARD, "REVOKE pg_read_all_stats FROM shardwise_app")
    async for _ in attempts(SECONDS_MAX):
        found = await look(settings)
        if found.left_out == "not_visible":
            break
    assert (found.left_out, found.streaming) == ("not_visible", None)
    options = UpOptions(shards=None, workers=0, detach=True)
    await bring_up(stack, settings, options, lambda _: None, usual_ports=False)
    await becomes_fit(settings)


async def test_where_its_files_are_gone_or_half_made_it_is_cloned(stack: EmbeddedStack, settings: Settings) -> None:
    kill(stack)
    shutil.rmtree(folder(stack))
    draft = stack.data_dir / "postgres" / f".{REPLICA}.new"
    draft.mkdir()
    (draft / "half").touch()
    # As a kill of `up` leaves it.
    clones = await asyncio.create_subprocess_exec(
        "sleep", "60", cwd=draft, env={**os.environ, PART_VARIABLE: str(draft)}
    )
    await up(stack)
    assert await clones.wait() < 0
    assert not draft.exists()
    assert not (folder(stack) / "half").exists()
    await becomes_fit(settings)


async def test_where_its_files_are_broken_it_is_cloned_anew(stack: EmbeddedStack, settings: Settings) -> None:
    kill(stack)
    (folder(stack) / "global" / "pg_control").write_bytes(b"")
    assert f"cloned {REPLICA} anew" in await up(stack)
    await becomes_fit(settings)


async def test_where_its_primary_has_not_kept_what_it_needs_it_is_cloned_anew(
    stack: EmbeddedStack, settings: Settings
) -> None:
    await ask(stack, SHARD, "ALTER SYSTEM SET wal_keep_size = 0", "SELECT pg_reload_conf()")
    processes = family(stack)
    signal_all(processes, signal.SIGSTOP)
    # What feeds it holds back nothing once it is gone.
    await ask(stack, SHARD, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_replication")
    for _ in range(4):
        await ask(stack, SHARD, "CREATE TABLE IF NOT EXISTS filler (n int)", "INSERT INTO filler VALUES (1)")
        await ask(stack, SHARD, "SELECT pg_switch_wal()", "CHECKPOINT")
    signal_all(processes, signal.SIGCONT)
    async for _ in attempts(SECONDS_MAX):
        found = await look(settings)
        if found.left_out == "not_streaming":
            break
    assert (found.left_out, found.lag_seconds) == ("not_streaming", None)
    assert f"cloned {REPLICA} anew" in await up(stack)
    await ask(stack, SHARD, "ALTER SYSTEM RESET wal_keep_size", "SELECT pg_reload_conf()")
    await becomes_fit(settings)


async def test_one_that_was_promoted_is_left_out_and_cloned_anew(stack: EmbeddedStack, settings: Settings) -> None:
    await ask(stack, REPLICA, "SELECT pg_promote()")
    assert (await look(settings)).left_out == "not_in_recovery"
    assert f"cloned {REPLICA} anew" in await up(stack)
    await becomes_fit(settings)


async def test_a_container_clones_streams_and_needs_no_second_clone(stack: EmbeddedStack) -> None:
    """The script of docker-compose.yml, with the image's programs exchanged for ours."""
    read = project()
    service = read["services"]["shard-1-replica-1"]
    record = StackRecord.load(stack.data_dir)
    user = server_user.choose()
    place = postgres_files.home_of(stack.data_dir, record) / "container"
    place.mkdir()
    programs = {
        "gosu": 'shift; exec "$@"',
        "install": 'mkdir -p "${@: -1}"; chmod 700 "${@: -1}"',
        "docker-entrypoint.sh": f'exec "$@" --port={free_port()} --unix_socket_directories=',
    }
    for name, line in programs.items():
        (place / name).write_text(f"#!/bin/bash\n{line}\n")
        (place / name).chmod(0o755)
    (place / "hba.conf").write_text(read["configs"]["hba"]["content"])
    user.own(place)
    script = service["command"][0].replace(service["configs"][0]["target"], str(place / "hba.conf"))
    primary = service["environment"]["PRIMARY"].replace("host=shard-1", f"host=127.0.0.1 port={record.ports[SHARD]}")
    environment = {
        "PATH": os.pathsep.join([str(place), str(binaries.postgres_bin(Settings())), os.defpath]),
        "PGDATA": str(place / "18" / "docker"),
        "PGPASSWORD": record.password.get_secret_value(),
        "PRIMARY": primary.replace("=shard-1-replica-1", "=container"),
    }

    async def start() -> asyncio.subprocess.Process:
        with (place / "log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *user.command([*service["entrypoint"], script]),
                cwd=place,
                env=environment,
                stdout=log,
                stderr=log,
                **user.identity(),
            )
        async for _ in attempts(SECONDS_MAX):
            state = "SELECT state FROM pg_stat_replication WHERE application_name = 'container'"
            if process.returncode is not None or await ask(stack, SHARD, state) == "streaming":
                break
        assert process.returncode is None, (place / "log").read_text()
        return process

    for _ in range(2):
        process = await start()
        try:
            is_cloned_again = (place / "18" / "docker" / "same").exists() is False
        finally:
            process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.wait(), SECONDS_MAX)
        (place / "18" / "docker" / "same").touch()
    assert not is_cloned_again


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_their_number_can_change_and_is_remembered(stack: EmbeddedStack, settings: Settings) -> None:
    before = StackRecord.load(stack.data_dir)
    assert [line.partition(" on ")[0] for line in await up(stack, 2)] == ["started shard-1-replica-2"]
    assert list(resolve_databases(settings).replicas) == [SHARD]
    assert len(resolve_databases(settings).replicas[SHARD]) == 2
    assert await stack.start_servers(usual_ports=False) == []
    assert await up(stack, 1) == ["removed shard-1-replica-2"]
    after = StackRecord.load(stack.data_dir)
    assert (after.replicas, after.ports, after.processes) == (1, before.ports, before.processes)

    assert await up(stack, 0) == [f"removed {REPLICA}"]
    assert not folder(stack).exists()
    assert resolve_databases(settings).replicas == {}
    assert await ask(stack, SHARD, "SHOW wal_keep_size") == "0"
    assert "replicas" not in (await status(settings)).document()
    async with await Shardwise.connect(settings=settings) as app:
        assert "replicas" not in (await app.operations.look(0.2)).model_dump(mode="json")
