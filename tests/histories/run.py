"""Thousands of operations on real servers that are killed and frozen; then the scans.

    python -m tests.histories.run [--operations 10000] [--seed N] [--strikes-min 20] [--apply-delay-ms 10]
                                  [--planted NAME] [--out DIR]

A stack of its own: two shards with two replicas each, and a worker, which keeps the read model. Prints what was done
and every kind of violation, and saves the history in the forms of other checkers. The same seed draws the same
operations and strikes; which of them meet, chance decides. Exit code 1 if there are violations, sessions were lost
that nobody promoted away, or clients got errors of another kind than that a server is away.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.histories.exports import save
from tests.histories.planted import PLANTED
from tests.histories.real_run import Plan, run
from tests.histories.servers import running
from tests.histories.strikes import strikes

SAY_EVERY_SECONDS = 5.0


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--strikes-min", type=int, default=20)
    parser.add_argument("--apply-delay-ms", type=int, default=0)
    parser.add_argument("--planted", choices=sorted(PLANTED))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    plan = Plan(
        chosen.seed,
        chosen.operations,
        strikes(chosen.seed),
        chosen.strikes_min,
        delay_ms=chosen.apply_delay_ms,
    )
    out = chosen.out or Path(tempfile.mkdtemp(prefix="shardwise-history-"))
    planted = PLANTED[chosen.planted]() if chosen.planted else contextlib.nullcontext()
    print(f"seed {chosen.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="shardwise-histories-") as folder:
        Path(folder).chmod(0o711)
        async with running(Path(folder) / "stack", shards=2, replicas=2, workers=1) as servers:
            with planted:
                report = await run(servers, plan, _sparing())
    await asyncio.to_thread(save, report.history, out)
    print(f"seed {chosen.seed}\n{report}\nsaved in {out}")
    return 0 if report.is_right else 1


def _sparing() -> Callable[[str], None]:
    """Says what it is given to standard error, now and then."""
    said = 0.0

    def say(line: str) -> None:
        nonlocal said
        if time.monotonic() >= said + SAY_EVERY_SECONDS:
            said = time.monotonic()
            print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
