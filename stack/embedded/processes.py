"""Spawn, recognise and end processes that outlive the one that started them.

Every part works in a folder of its own, so its processes can be found by their working directory even if a kill came
before their pid was recorded. So can the backends that a killed Postgres leaves behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import psutil  # type: ignore[import-untyped]

from stack.embedded.record import ProcessMark
from stack.embedded.server_user import ServerUser
from stack.embedded.waiting import attempts

Process: TypeAlias = psutil.Process

CLOCK_STEP_SECONDS = 2.0
PART_VARIABLE = "SHARDWISE_PART"

# Reaped by `is_alive`: a dead child stays a zombie, which looks alive, until its parent waits for it.
_children: dict[int, subprocess.Popen[bytes]] = {}


def spawn(
    command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str], user: ServerUser
) -> ProcessMark:
    """Start a process in its own session, so that neither our exit nor a Ctrl-C at our terminal ends it."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as output:
        child = subprocess.Popen(
            user.command(command),
            cwd=folder,
            env={**environment, PART_VARIABLE: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **user.identity(),
        )
    _children[child.pid] = child
    return ProcessMark(pid=child.pid, started_at=psutil.Process(child.pid).create_time())


def find(mark: ProcessMark | None) -> Process | None:
    """The marked process while it lives; never another one that got the same pid."""
    if mark is None:
        return None
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(mark.pid)
        # The start time is computed from ticks since boot: a correction of the clock moves it a little.
        same = abs(process.create_time() - mark.started_at) < CLOCK_STEP_SECONDS
        if same and is_alive(process):
            return process
    return None


def is_alive(process: Process) -> bool:
    child = _children.get(process.pid)
    if child is not None and child.poll() is not None:
        del _children[process.pid]
        return False
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def is_stopped(process: Process) -> bool:
    """Stopped by a signal or a debugger: alive, but not responding."""
    with contextlib.suppress(psutil.Error):
        return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    return False


def working_in(folder: Path) -> list[Process]:
    """Our processes with this working directory; a person's shell in that directory is not one of them."""
    return [process for process in psutil.process_iter() if _belongs(process, folder)]


def _belongs(process: Process, folder: Path) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        if process.cwd() != str(folder):
            return False
        # Postgres overwrites its environment with its title, and works in no folder but its own.
        if process.name() == "postgres" or process.environ().get(PART_VARIABLE) == str(folder):
            return is_alive(process)
    return False


def wake(stopped: Iterable[Process]) -> None:
    """Lets those go on that a signal has stopped. A stopped process takes no other signal, and a server waits for its
    stopped children."""
    for process in stopped:
        if is_stopped(process):
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)


async def wait_gone(processes: Iterable[Process], seconds: float) -> bool:
    """False if one still lives after `seconds`."""
    remaining = list(processes)
    async for _ in attempts(seconds):
        remaining = [process for process in remaining if is_alive(process)]
        if not remaining:
            return True
    return False


async def end(process: Process, *ways: tuple[signal.Signals, float]) -> None:
    """Send each signal in turn, waiting its seconds for the process to go; then SIGKILL."""
    for number, seconds in (*ways, (signal.SIGKILL, 10.0)):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
        if await wait_gone([process], seconds):
            return


def kill(process: Process) -> None:
    """End it at once and wait until it is gone; for programs whose work is discarded anyway."""
    with contextlib.suppress(psutil.Error):
        process.kill()
        process.wait(timeout=10)
