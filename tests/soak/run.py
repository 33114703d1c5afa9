"""`make soak MINUTES=30`: orders without end while parts of the stack are killed. Then: is everything accounted for?

    python -m tests.soak.run --minutes 30 [--quiet-minutes 10] [--seed N]

Prints its seed; the same seed makes the same orders and the same kills. After the kills come minutes in peace, in
which `verify` must never see a violation. Exit code 0 only if no order was lost or reported with two endings, every
cent and unit is where the orders say it should be, and `verify` was ok each time it ran.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.soak import Plan, soak, stack


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--quiet-minutes", type=float, default=10)
    parser.add_argument("--seed", default=str(int(time.time())))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", file=sys.stderr)
    plan = Plan(chosen.seed, chosen.minutes * 60, chosen.quiet_minutes * 60)
    with tempfile.TemporaryDirectory(prefix="shardwise-soak-") as folder, stack(Path(folder)) as shardwise:
        report = soak(shardwise, Path(folder), plan)
    print(f"seed {chosen.seed}\n{report}")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
