"""What a Postgres server, the Temporal server and a worker have in common, and how one is started and stopped."""

from __future__ import annotations

import abc
import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from domain.errors import Unreachable
from stack.embedded import processes
from stack.embedded.processes import Process
from stack.embedded.record import StackRecord
from stack.embedded.server_user import CALLER, ServerUser
from stack.embedded.waiting import attempts

ANSWER_SECONDS = 10.0
LEFTOVER_SECONDS = 5.0
LOG_LINE_CHARACTERS = 200


class Part(abc.ABC):
    """One process of the stack, alone in its working directory."""

    ready_seconds: float = 60.0
    stop_ways: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 10.0),)
    user: ServerUser = CALLER

    def __init__(self, name: str, folder: Path, log: Path) -> None:
        self.name = name
        self.folder = folder
        self.log = log

    @property
    def ports(self) -> Sequence[int]:
        return ()

    @abc.abstractmethod
    def prepare(self) -> None:
        """Bring the folder into the state the process starts from. Runs before every start, with nothing running."""

    @abc.abstractmethod
    def command(self) -> list[str]: ...

    @abc.abstractmethod
    def environment(self) -> Mapping[str, str]: ...

    @abc.abstractmethod
    async def answers(self) -> bool:
        """Whether it works now, found by a request to it. Does not raise."""

    async def finish_start(self) -> None:  # noqa: B027 - most parts have nothing to add
        """Once it answers: bring what it holds up to date. Repeated on every `up`."""

    def leftovers(self) -> list[Process]:
        """Its running processes, recorded or not."""
        return processes.working_in(self.folder)

    def main_of(self, leftovers: Sequence[Process]) -> Process | None:
        """The one among them that understands `stop_ways`."""
        return leftovers[0] if leftovers else None


class Supervisor:
    """Starts and stops parts, recording each process as soon as it exists."""

    def __init__(self, data_dir: Path, record: StackRecord, say: Callable[[str], None]) -> None:
        self._data_dir = data_dir
        self._record = record
        self._say = say

    def process(self, part: Part) -> Process | None:
        return processes.find(self._record.processes.get(part.name))

    async def start(self, part: Part) -> list[str]:
        """Start the part and wait until it answers; returns what was done, nothing if it ran already.

        A crash in the middle leaves a process that the next start finds by its folder and replaces. Raises Unreachable
        if the part does not answer in time, with the end of its log.
        """
        running = self.process(part)
        if running is not None:
            processes.wake(part.leftovers())
            if await self._until_answering(part, running, ANSWER_SECONDS):
                await part.finish_start()
                return []
        await self.stop(part)
        await asyncio.to_thread(part.prepare)
        self._say(f"starting {part.name}")
        mark = processes.spawn(part.command(), part.folder, part.log, part.environment(), part.user)
        self._record.processes[part.name] = mark
        self._record.save(self._data_dir)
        started = processes.find(mark)
        if started is None or not await self._until_answering(part, started, part.ready_seconds):
            raise Unreachable("part_not_started", f"{part.name} did not start; {_end_of(part.log)}")
        await part.finish_start()
        if part.name not in self._record.made:
            self._record.made.append(part.name)
            self._record.save(self._data_dir)
        return [f"started {part.name}" + (f" on port {part.ports[0]}" if part.ports else "")]

    async def clear(self, part: Part) -> list[str]:
        """End what an earlier kill left of a part that does not run; a running one is not touched."""
        return [] if self.process(part) else await self.stop(part)

    async def stop(self, part: Part) -> list[str]:
        """End the part's process and whatever an earlier kill left of it. Returns nothing if nothing ran."""
        running = self.process(part)
        if running is not None:
            self._say(f"stopping {part.name}")
            processes.wake(part.leftovers())
            await processes.end(running, *part.stop_ways)
        await self._end_leftovers(part)
        if self._record.processes.pop(part.name, None) is not None:
            self._record.save(self._data_dir)
        return [f"stopped {part.name}"] if running else []

    async def _end_leftovers(self, part: Part) -> None:
        left = part.leftovers()
        if unrecorded := part.main_of(left):
            await processes.end(unrecorded, *part.stop_ways)
        # The orphans of a killed Postgres see that it is gone and leave by themselves, after their last write.
        await processes.wait_gone(left, LEFTOVER_SECONDS)
        for process in part.leftovers():
            await processes.end(process)

    async def _until_answering(self, part: Part, process: Process, seconds: float) -> bool:
        """False once the process is dead, or after `seconds`."""
        async for _ in attempts(seconds):
            if not processes.is_alive(process):
                return False
            if await part.answers():
                return True
        return False


def _end_of(log: Path, lines: int = 5) -> str:
    try:
        text = log.read_text(errors="replace").strip().splitlines()[-lines:]
    except OSError:
        text = []
    return f"the end of {log}:\n" + "\n".join(line[-LOG_LINE_CHARACTERS:] for line in text)
