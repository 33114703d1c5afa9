"""Concurrent clients are recorded as what happened, and judged as such."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.histories.operations import NO_ROW, History, Kind, Level, Outcome, history_of
from tests.histories.recorder import NoOutcome, Recorder
from tests.histories.scans import Fault, scan

KEY, SHARD, REPLICA = "product/SKU-1", "shard-1", "shard-1/replica-1"


class Lagging:
    """A row on a primary, and on a replica that follows a few turns of the event loop later."""

    def __init__(self) -> None:
        self.primary = self.replica = NO_ROW
        self._chance = random.Random(1)

    async def write(self) -> int:
        await _turns(2)
        self.primary += 1
        made = self.primary
        asyncio.get_running_loop().create_task(self._replay(made))
        await _turns(2)
        return made

    async def _replay(self, version: int) -> None:
        await _turns(self._chance.randrange(3, 12))
        self.replica = max(self.replica, version)

    async def read(self, at_least: int) -> tuple[int, str]:
        await _turns(2)
        seen = (self.replica, REPLICA) if self.replica >= at_least else (self.primary, SHARD)
        await _turns(2)
        return seen


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _run(level: Level, *, heeds_token: bool) -> History:
    recorder, row = Recorder(), Lagging()

    async def client(name: str) -> None:
        seen = 0
        for step in range(60):
            if step % 3 == 0:
                with recorder.write(name, name, KEY, SHARD, str(seen)) as call:
                    seen = await row.write()
                    call.ok(seen, SHARD, str(seen))
            else:
                with recorder.read(name, name, KEY, SHARD, level, str(seen)) as call:
                    version, server = await row.read(seen if heeds_token else NO_ROW)
                    seen = max(seen, version) if heeds_token else seen
                    call.ok(version, server, str(seen))

    await asyncio.gather(*(client(f"client-{number}") for number in range(4)))
    await _turns(20)
    recorder.rest()
    for server, version in ((SHARD, row.primary), (REPLICA, row.replica)):
        with recorder.read("auditor", "auditor", KEY, SHARD, Level.EVENTUAL) as call:
            call.ok(version, server)
    return recorder.history()


@pytest.mark.parametrize("level", [Level.EVENTUAL, Level.READ_YOUR_WRITES, Level.MONOTONIC])
async def test_clients_whose_tokens_are_heeded(level: Level) -> None:
    history = await _run(level, heeds_token=True)
    assert scan(history) == []
    assert {each.server for each in history.operations} == {SHARD, REPLICA}
    assert any(not one.ended_before(two) for one, two in zip(history.operations, history.operations[1:], strict=False))


async def test_clients_whose_tokens_are_ignored() -> None:
    history = await _run(Level.READ_YOUR_WRITES, heeds_token=False)
    assert {each.fault for each in scan(history)} == {Fault.OWN_WRITE_MISSED}


async def test_strong_reads_from_a_replica() -> None:
    history = await _run(Level.STRONG, heeds_token=False)
    assert {each.fault for each in scan(history)} == {Fault.STALE_STRONG_READ}


async def test_a_cancelled_write_is_unknown_and_a_cancelled_read_has_failed() -> None:
    recorder = Recorder()

    async def write() -> None:
        with recorder.write("a", "a", KEY, SHARD):
            await asyncio.Event().wait()

    async def read() -> None:
        with recorder.read("b", "b", KEY, SHARD, Level.STRONG):
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(write()), asyncio.create_task(read())]
    await _turns(2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    write_returned, read_returned = recorder.history().operations
    assert (write_returned.outcome, read_returned.outcome) == (Outcome.UNKNOWN, Outcome.FAIL)
    assert write_returned.detail.startswith("CancelledError")


def test_what_the_client_said_first_holds_though_the_block_then_fails() -> None:
    recorder = Recorder()

    def write() -> None:
        with recorder.write("a", "a", KEY, SHARD) as call:
            call.ok(1, SHARD)
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write()
    assert recorder.history().operations[0].outcome is Outcome.OK


def test_an_operation_ends_exactly_once() -> None:
    recorder = Recorder()
    with pytest.raises(NoOutcome, match="without an outcome"), recorder.write("a", "a", KEY, SHARD):
        pass
    call = recorder.invoke("a", "a", Kind.WRITE, KEY, SHARD)
    call.fail("refused")
    with pytest.raises(NoOutcome, match="ended already"):
        call.ok(1, SHARD)


def test_who_was_never_answered_is_unknown() -> None:
    recorder = Recorder()
    recorder.invoke("a", "a", Kind.WRITE, KEY, SHARD)
    (operation,) = recorder.history().operations
    assert operation.is_open_write
    assert operation.returned is None


def test_no_moment_comes_twice() -> None:
    recorder = Recorder()
    moments = [recorder.now() for _ in range(1000)]
    assert moments == sorted(set(moments))


def test_a_row_that_was_there_before() -> None:
    recorder = Recorder()
    recorder.exists(KEY, SHARD, version=3)
    recorder.invoke("a", "a", Kind.READ, KEY, SHARD, Level.STRONG).ok(3, SHARD)
    assert scan(recorder.history()) == []
    recorder.invoke("a", "a", Kind.READ, KEY, SHARD, Level.STRONG).ok(2, REPLICA)
    assert [each.fault for each in scan(recorder.history())] == [Fault.STALE_STRONG_READ]


async def test_a_history_comes_back_from_its_text() -> None:
    history = await _run(Level.MONOTONIC, heeds_token=True)
    assert history_of(history.text()) == history


async def test_ten_thousand_operations_are_scanned_at_once() -> None:
    recorder = Recorder()
    for number in range(10_000):
        key = f"product/{number % 7}"
        client = f"client-{number % 5}"
        if number % 2:
            recorder.invoke(client, client, Kind.READ, key, SHARD, Level.STRONG).ok(NO_ROW, SHARD)
        else:
            recorder.invoke(client, client, Kind.WRITE, key, SHARD).unknown("timed out")
    assert scan(recorder.history()) == []
