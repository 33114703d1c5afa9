"""Comments while their home is killed and Temporal with it, and while relays are killed that bring them home.

    python -m tests.soak.comments_away [--comments 1000]

Prints how long it took to take one, before, while the home is away, and after. Exit code 1 unless each comment that was
taken is in its thread once, in the order of the times, and `verify` is ok.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from cli.embedded_stack import UpOptions, bring_up
from domain.catalogue import Product
from domain.errors import Unreachable
from domain.money import Money
from domain.percentiles import percentile
from shardwise import Session, Shardwise
from shardwise.comments import PostedComment
from stack.embedded.record import TEMPORAL, StackRecord
from stack.embedded.stack import EmbeddedStack
from stack.embedded.waiting import attempts
from stack.settings import Settings

SKU = "TEAPOT"
AUTHORS = 8
SECONDS_MAX = 120
KILLS = 4


class Run:
    def __init__(self, stack: EmbeddedStack, settings: Settings, app: Shardwise) -> None:
        self._stack = stack
        self._settings = settings
        self._app = app
        self.taken: list[PostedComment] = []
        self.faults: list[str] = []

    async def post(self, when: str, count: int) -> None:
        """Each author in a session of its own, one comment after the other."""
        seconds: list[float] = []

        async def author(number: int) -> None:
            mine = self._app.within(Session())
            before: PostedComment | None = None
            for n in range(count // AUTHORS):
                began = time.perf_counter()
                posted = await mine.comments.post(SKU, f"author-{number}", f"{when} {n}")
                seconds.append(time.perf_counter() - began)
                if before is not None and posted.at <= before.at:
                    self.fault(f"{posted.comment_id} is not later than its author's one before")
                before = posted
                self.taken.append(posted)

        await asyncio.gather(*(author(number) for number in range(AUTHORS)))
        at_home = sum(each.at_home for each in self.taken[-len(seconds) :])
        p50, p99 = percentile(seconds, 50) * 1000, percentile(seconds, 99) * 1000
        print(f"{when}: {len(seconds)} taken, {at_home} at home, p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True)

    def kill(self, *names: str) -> None:
        record = StackRecord.load(self._stack.data_dir)
        for name in names:
            server = psutil.Process(record.processes[name].pid)
            family = [server, *server.children(recursive=True)]
            for process in family:
                process.kill()
            psutil.wait_procs(family, timeout=SECONDS_MAX)

    async def are_home(self) -> None:
        waiting = len(self.taken)
        async for _ in attempts(SECONDS_MAX):
            # The connections from before the kill end with their first use.
            with contextlib.suppress(Unreachable):
                waiting = len(self.taken) - len(await self.thread())
            if not waiting:
                return
        self.fault(f"{waiting} comments did not come home")

    async def thread(self) -> list[str]:
        found: list[str] = []
        after: str | None = None
        while True:
            page = await self._app.comments.thread(SKU, limit=1000, after=after, consistency="strong")
            found += [each.comment_id for each in page.comments]
            after = page.next
            if after is None:
                return found

    async def check(self) -> None:
        expected = [each.comment_id for each in sorted(self.taken, key=lambda each: (each.at, each.comment_id))]
        if await self.thread() != expected:
            self.fault("the thread is not what was taken, once each and in order")
        async with await Shardwise.connect(settings=self._settings) as fresh:
            if not (await fresh.operations.verify()).ok:
                self.fault("verify found violations")

    def fault(self, message: str) -> None:
        self.faults.append(message)
        print(f"FAULT: {message}", flush=True)


async def run(comments: int) -> int:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = Settings(data_dir=Path(folder) / "stack")
        stack = EmbeddedStack(settings.data_dir, settings)
        options = UpOptions(shards=3, workers=1, detach=True, replicas=0)
        await bring_up(stack, settings, options, lambda _: None, usual_ports=False)
        try:
            async with await Shardwise.connect(settings=settings) as app:
                return await _run(Run(stack, settings, app), stack, app, comments)
        finally:
            await stack.stop()


async def _run(of: Run, stack: EmbeddedStack, app: Shardwise, comments: int) -> int:
    await app.catalogue.import_products([Product(SKU, "Teapot", Money(2000, "USD"), 5)])
    home = (await app.catalogue.product(SKU, "strong")).shard
    await of.post("before", comments // 5)
    of.kill(home, TEMPORAL)
    await of.post("home and Temporal away", comments)
    await stack.start_servers(usual_ports=False)
    for _ in range(KILLS):
        of.kill("worker-1")
        await stack.start_workers()
    await of.are_home()
    await of.post("after", comments // 5)
    await of.check()
    print(f"{len(of.taken)} comments, each in the thread once and in order" if not of.faults else "FAILED")
    return 1 if of.faults else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comments", type=int, default=1000)
    sys.exit(asyncio.run(run(parser.parse_args().comments)))


if __name__ == "__main__":
    main()
