"""Cuts a shard's primary off from its clients, as a partition of the network does: nobody is told, nothing is lost, and
its replicas go on receiving.

The postmaster is stopped, so that new connections get no answer, and the sessions of its clients are ended. Its other
processes go on, among them those that feed replicas. This needs no rights, no proxy and no change of configuration.
A process of its own heals it when the time is up, whatever becomes of the command; so do `up` and `down`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import asyncpg
from pydantic import BaseModel

from domain.errors import InvalidInput, Refused, Unreachable
from stack.embedded import processes
from stack.embedded.postgres import NO_ANSWER
from stack.embedded.record import SHARD_DATABASE, ProcessMark, StackRecord
from stack.embedded.server_user import CALLER
from stack.embedded.waiting import attempts

SECONDS_MAX = 3600.0
ANSWER_SECONDS = 5.0

# Those that feed replicas are no client backends.
_END_SESSIONS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


class Partition(BaseModel):
    """`until` is in seconds since 1970. `server`: the postmaster that is stopped."""

    shard: str
    until: float
    server: ProcessMark


def partition_of(data_dir: Path, shard: str) -> Partition | None:
    """The one that lasts now; None if the shard's server is not stopped."""
    found = _read(data_dir, shard)
    process = processes.find(found.server) if found is not None else None
    return found if process is not None and processes.is_stopped(process) else None


async def cut_off(data_dir: Path, shard: str, seconds: float) -> Partition:
    """Begins a partition and returns. It ends by itself after `seconds`, and a killed command leaves it to end so.

    `InvalidInput` for an unknown shard, `Refused` with `already_partitioned`, `Unreachable` if the shard is down.
    """
    record = StackRecord.load(data_dir)
    if shard not in record.shards:
        raise InvalidInput("shard", f"shard: expected one of {', '.join(record.shards)}, got {shard!a}")
    mark = record.processes.get(shard)
    server = processes.find(mark)
    if mark is None or server is None:
        raise Unreachable("shard_unreachable", f"{shard} does not run")
    if partition_of(data_dir, shard) is not None:
        raise Refused("already_partitioned", f"{shard} is partitioned already", "shard")
    made = Partition(shard=shard, until=time.time() + seconds, server=mark)
    try:
        # Opened before, since nothing is let in afterwards.
        connection = await asyncpg.connect(record.owner_dsn(shard, SHARD_DATABASE), timeout=ANSWER_SECONDS)
    except NO_ANSWER as error:
        raise Unreachable("shard_unreachable", f"{shard} does not answer") from error
    try:
        _write(data_dir, made)
        # First who heals it, then what is to be healed.
        command = [sys.executable, "-m", "stack.embedded.healer", str(data_dir), shard]
        log = data_dir / "logs" / f"{shard}-healer.log"
        processes.spawn(command, Path.cwd(), log, os.environ, CALLER)
        server.send_signal(signal.SIGSTOP)
        async for _ in attempts(ANSWER_SECONDS):  # One that was being let in shows up a little later.
            if not await connection.fetchval(_END_SESSIONS):
                break
            await asyncio.sleep(0.02)
    finally:
        connection.terminate()
    return made


def heal(data_dir: Path, shard: str) -> bool:
    """Ends a partition at once. False if there is none. Idempotent."""
    found = partition_of(data_dir, shard)
    _path(data_dir, shard).unlink(missing_ok=True)
    process = processes.find(found.server) if found is not None else None
    if process is None:
        return False
    processes.wake([process])
    return True


def heal_when_due(data_dir: Path, shard: str) -> None:
    """Waits until the partition is over, or somebody else has ended it, and heals it. For `stack.embedded.healer`."""
    mine = _read(data_dir, shard)
    while mine is not None and (left := mine.until - time.time()) > 0:
        if _read(data_dir, shard) != mine or processes.find(mine.server) is None:
            return
        time.sleep(min(left, 0.2))
    if mine is not None and _read(data_dir, shard) == mine:
        heal(data_dir, shard)


def _path(data_dir: Path, shard: str) -> Path:
    return data_dir / "partitions" / f"{shard}.json"


def _read(data_dir: Path, shard: str) -> Partition | None:
    try:
        return Partition.model_validate_json(_path(data_dir, shard).read_bytes())
    except (OSError, ValueError):
        return None


def _write(data_dir: Path, made: Partition) -> None:
    path = _path(data_dir, made.shard)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(made.model_dump_json())
    draft.replace(path)
