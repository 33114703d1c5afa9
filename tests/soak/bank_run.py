"""`make bank`: money between a hundred accounts by every protocol while parts are killed, on a fresh stack each run.

    python -m tests.soak.bank_run [--seconds 60] [--seed N] [--runs 5]

Prints one line a run; the seeds are N, N+1 and so on, and the same seed makes the same transfers and the same kills.
Exit code 0 only if each run conserved every cent: in every snapshot of every shard while parts were killed, and at rest
account by account as it was reported to its clients.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.bank import Plan, bank
from tests.soak.soak import stack


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    # Refused calls are what this run provokes.
    logging.getLogger("temporalio.core").setLevel(logging.ERROR)
    failed = 0
    for seed in range(chosen.seed, chosen.seed + chosen.runs):
        with tempfile.TemporaryDirectory(prefix="shardwise-bank-") as folder, stack(Path(folder)) as shardwise:
            report = bank(shardwise, Path(folder), Plan(str(seed), chosen.seconds))
        print(f"seed {seed}: {report}", flush=True)
        failed += bool(report.faults)
    return 1 if failed else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # A process that used the Temporal client can die while the interpreter shuts down.
