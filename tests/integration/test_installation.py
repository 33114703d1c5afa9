"""The servers of a test run: each process has its own, and none outlives the run, however it ends."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import asyncpg

from stack.embedded.stack import EmbeddedStack
from stack.embedded.waiting import attempts
from stack.settings import Settings
from tests.support.installation import REPOSITORY, installation, working_below
from tests.support.temporal import new_namespace

# A run of two processes that is not over before it is killed.
RUN = """
import time
from tests.support.installation import Keeper
keeper = Keeper(2)
print(keeper.folder, flush=True)
time.sleep(600)
"""
SECONDS_MAX = 60


async def test_a_run_that_is_killed_leaves_no_server_no_stack_and_no_worker_behind() -> None:
    pipe = asyncio.subprocess.PIPE
    run = await asyncio.create_subprocess_exec(sys.executable, "-c", RUN, cwd=REPOSITORY, stdout=pipe)
    try:
        assert run.stdout is not None
        folder = Path((await run.stdout.readline()).decode().strip())
        given = [await asyncio.to_thread(installation, folder, number) for number in range(3)]
        # The third stands for one that takes the place of a process that died.
        assert given[0] == given[2]
        assert given[0].postgres != given[1].postgres
        for each in given[:2]:
            connection = await asyncpg.connect(each.postgres)
            there = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
            await connection.close()
            assert set(each.templates.values()) < there
        one, other = [await new_namespace(given[0].temporal) for _ in range(2)]
        assert one.namespace != other.namespace
        stack = given[0].stacks / "of a test" / "stack"
        await EmbeddedStack(stack, Settings(data_dir=stack)).start_servers(shards=1, usual_ports=False)
        # And a process that outlives the one that started it.
        await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(600)", cwd=given[0].stacks)
        assert len(working_below(given[0].stacks)) > 3
    finally:
        run.kill()
        await run.communicate()
    async for _ in attempts(SECONDS_MAX):
        if working_below(folder) == [] and not folder.exists():
            return
    raise AssertionError(working_below(folder))
