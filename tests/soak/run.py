"""`make soak MINUTES=30`: orders without end while parts of the stack are killed. Then: is everything accounted for?

    python -m tests.soak.run --minutes 30 [--seed N] [--data-dir DIR]

Prints its seed; the same seed makes the same orders and the same kills. Exit code 0 only if no order was lost and
`verify` is ok at the end and each time it was asked on the way.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.chaos import Chaos
from tests.soak.orders import write_catalogue, write_orders
from tests.support.command import Shardwise

BATCH = 200
STRIKES_PER_VERIFY = 5
SETTLE_ROUNDS_MAX = 20


@dataclass
class Report:
    seed: int
    orders: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    verified: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass
class Soak:
    shardwise: Shardwise
    folder: Path
    seconds: float
    seed: int
    files: list[Path] = field(default_factory=list)

    def run(self) -> Report:
        report = Report(self.seed)
        for kind, file in zip(("customers", "products"), write_catalogue(self.folder), strict=True):
            assert self.shardwise("import", kind, str(file)).exit_code == 0
        ends = time.monotonic() + self.seconds
        importing = threading.Thread(target=self._import_until, args=(ends, report))
        importing.start()
        self._strike_until(ends, report)
        importing.join()
        self._settle(report)
        return report

    def _strike_until(self, ends: float, report: Report) -> None:
        chaos = Chaos(self.shardwise, random.Random(f"{self.seed}-kills"))
        while time.monotonic() < ends:
            chaos.pause()
            what = chaos.strike()
            print(f"{time.strftime('%H:%M:%S')} {what}; {sum(chaos.kills.values())} strikes", file=sys.stderr)
            if sum(chaos.kills.values()) % STRIKES_PER_VERIFY == 0:
                self._verify(report, "on the way")
        report.kills = chaos.kills

    def _import_until(self, ends: float, report: Report) -> None:
        chance = random.Random(f"{self.seed}-orders")
        while time.monotonic() < ends:
            file = self.folder / f"orders-{len(self.files)}.jsonl"
            write_orders(file, chance, f"o{len(self.files)}", BATCH)
            self.files.append(file)
            answer = self.shardwise("import", "orders", str(file), "--concurrency", "20")
            if "total" not in answer.stdout and answer.exit_code not in (0, 3):
                report.faults.append(f"{file.name}: exit {answer.exit_code}: {answer.stdout}{answer.stderr[-500:]}")

    def _settle(self, report: Report) -> None:
        """Every file once more, until all of its orders are final: what is not by then is lost."""
        for file in self.files:
            for _ in range(SETTLE_ROUNDS_MAX):
                answer = self.shardwise("import", "orders", str(file))
                if answer.exit_code == 0:
                    break
            counts = json.loads(answer.stdout)
            report.orders += counts.get("total", 0)
            outcomes = ("confirmed", "rejected", "cancelled", "pending", "failed", "invalid")
            report.outcomes.update({name: counts.get(name, 0) for name in outcomes})
            if answer.exit_code != 0:
                report.faults.append(f"{file.name} does not settle: {answer.stdout}")
        self._verify(report, "at rest")

    def _verify(self, report: Report, when: str) -> None:
        answer = self.shardwise("verify")
        report.verified += 1
        if answer.exit_code != 0:
            report.faults.append(f"verify {when}: {answer.stdout}{answer.stderr}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="shardwise-soak-") as folder:
        shardwise = Shardwise(Path(folder) / "stack")
        try:
            up = shardwise("up", "--detach", "--workers", "2")
            assert up.exit_code == 0, up.stderr
            report = Soak(shardwise, Path(folder), chosen.minutes * 60, chosen.seed).run()
        finally:
            shardwise("down")
    print(f"seed {report.seed}: {report.orders} orders {dict(report.outcomes)}, kills {dict(report.kills)}")
    print(f"verify asked {report.verified} times; {len(report.faults)} faults")
    print("\n".join(report.faults))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
