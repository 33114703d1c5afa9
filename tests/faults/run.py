"""`make battery`: the whole matrix, with its results as a table.

    python -m tests.faults.run [--only TEXT] [--broken barrier|decision|shield] [--sandbox] [--json]

`--only` runs the cases whose names hold the text. `--json` takes the names of the cases from a JSON list on stdin and
prints the verdict as a document. `--sandbox` runs the workflows in it, which takes half as long again; without it they
run as in production. `--broken` breaks one of the three things that hold the saga
together, to see that the battery notices. Exit code 0 only if every case passed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from tests.faults.battery import Verdict, battery_on
from tests.faults.broken import BREAKS
from tests.faults.cases import CASES, Case
from tests.faults.declared import DECLARED, MODES, Group
from tests.support.postgres import lasting_databases, migrated_templates, scratch_server
from tests.support.temporal import scratch_temporal


async def run(cases: Sequence[Case], broken: str | None, sandboxed: bool) -> Verdict:
    """Cancelled by SIGTERM, as by Ctrl-C, so that no server outlives it."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="shardwise-battery-") as folder:
        folders = [Path(folder, name) for name in ("postgres", "temporal")]
        for each in folders:
            each.mkdir()
        async with (
            scratch_server(folders[0]) as admin,
            lasting_databases(admin, await migrated_templates(admin)) as databases,
            scratch_temporal(folders[1]) as client,
            battery_on(databases, client, broken is None, sandboxed and broken is None) as battery,
        ):
            if broken is not None:
                BREAKS[broken]()
            return await battery.run(cases, lambda line: print(line, file=sys.stderr))


def table(cases: Sequence[Case], verdict: Verdict, group: Group) -> Table:
    """A cell shows how many cases passed of how many, local first and regular together."""
    activities = [activity for activity, declared in DECLARED.items() if group in declared.groups]
    made = Table(f"{group} under", *(activity.replace("_", " ") for activity in activities), *MODES)
    mine = [case for case in cases if case.group is group]
    for fault in dict.fromkeys(map(_fault, mine)):
        row = [case for case in mine if _fault(case) == fault]
        by_activity = [[case for case in row if case.activity == activity] for activity in activities]
        by_mode = [[case for case in row if case.mode == mode] for mode in MODES]
        made.add_row(fault, *(_passed(cell, verdict) for cell in (*by_activity, *by_mode)))
    return made


def _fault(case: Case) -> str:
    return case.fault.name.split(":")[0]


def _passed(cases: Sequence[Case], verdict: Verdict) -> str:
    return f"{sum(not verdict.faults[case.name] for case in cases)}/{len(cases)}" if cases else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--broken", choices=sorted(BREAKS))
    parser.add_argument("--sandbox", action="store_true")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    # Every attempt that fails is meant to: five hundred orders of them.
    logging.getLogger().setLevel(logging.CRITICAL)
    names = json.load(sys.stdin) if chosen.json else [name for name in CASES if chosen.only in name]
    cases = [CASES[name] for name in names]
    began = time.monotonic()
    # As workers do.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        verdict = runner.run(run(cases, chosen.broken, chosen.sandbox))
    if chosen.json:
        print(json.dumps(asdict(verdict)))
    else:
        report(cases, verdict, time.monotonic() - began)
    return 1 if any(verdict.faults.values()) or verdict.unrelated else 0


def report(cases: Sequence[Case], verdict: Verdict, seconds: float) -> None:
    red = {name: faults for name, faults in verdict.faults.items() if faults}
    for name, faults in red.items():
        print(f"{name}\n    " + "\n    ".join(faults))
    for violation in verdict.unrelated:
        print(violation)
    for group in Group:
        if any(case.group is group for case in cases):
            Console(width=200).print(table(cases, verdict, group))
    print(f"{len(cases)} cases, {len(red)} failed, in {seconds:.0f} s")


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads of the Temporal client can crash an ordinary interpreter exit.
    os._exit(code)
