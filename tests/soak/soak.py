"""One soak: orders while parts are killed, then all is settled and accounted for, then orders in peace."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.books import faults, read_books
from tests.soak.chaos import PAUSE_SECONDS, Chaos, strikes
from tests.soak.orders import open_shop
from tests.soak.traffic import CONCURRENCY, Traffic
from tests.soak.verifying import Verifying
from tests.support.command import Shardwise

STRIKES_PER_VERIFY = 5
# Longer than `verify` takes from reading an order to looking up its workflow, also on a busy machine.
QUIET_WINDOWS_SECONDS = (2.0, 0.0)


@dataclass(frozen=True)
class Plan:
    """`strikes_min`: that many, also where they take longer than `chaos_seconds`; six are one of each kind. `windows`:
    the cancellation windows of orders while parts are killed, see `Traffic`."""

    seed: str
    chaos_seconds: float
    quiet_seconds: float
    strikes_min: int = 6
    freeze_seconds: float = 20.0
    batch: int = 200
    concurrency: int = CONCURRENCY
    windows: Sequence[float] = (0.0,)
    pause_seconds: tuple[float, float] = PAUSE_SECONDS


@dataclass
class Report:
    orders: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    reported: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    verified: int = 0
    in_flight_max: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.orders} orders: {dict(self.outcomes)}; {self.reported} were reported as final on the way",
                f"kills: {dict(self.kills)}",
                f"verify asked {self.verified} times, saw up to {self.in_flight_max} orders in flight",
                f"{len(self.faults)} faults",
                *self.faults,
            ]
        )


@contextmanager
def stack(folder: Path, workers: int = 2) -> Iterator[Shardwise]:
    """A stack of its own in an empty folder."""
    shardwise = Shardwise(folder / "stack")
    try:
        shardwise.take_free_ports()
        up = shardwise("up", "--detach", "--workers", str(workers))
        assert up.exit_code == 0, up.stderr
        yield shardwise
    finally:
        shardwise("down")


def soak(shardwise: Shardwise, folder: Path, plan: Plan) -> Report:
    """On an empty stack. Everything that is wrong is in the report's faults."""
    open_shop(shardwise, folder)
    before = read_books(shardwise)
    report, verifying = Report(), Verifying(shardwise)
    with Traffic(shardwise, folder, f"{plan.seed}-chaos", plan.batch, plan.windows, plan.concurrency) as rough:
        report.kills = _strike(shardwise, plan, rough, verifying)
    report.reported = len(rough.reported)
    rough.settle()
    verifying.until_at_rest()
    report.faults += faults(before, read_books(shardwise), rough.orders, rough.reported)
    traffics = [rough]
    if plan.quiet_seconds:
        calm = quiet(shardwise, folder, plan, verifying)
        calm.settle()
        verifying.until_at_rest()
        traffics.append(calm)
        orders, reported = [*rough.orders, *calm.orders], rough.reported | calm.reported
        report.faults += faults(before, read_books(shardwise), orders, reported)
    for traffic in traffics:
        report.orders += len(traffic.orders)
        report.outcomes += traffic.outcomes
        report.faults += traffic.faults
    report.faults += verifying.faults
    report.verified, report.in_flight_max = verifying.asked, verifying.in_flight_max
    return report


def _strike(shardwise: Shardwise, plan: Plan, traffic: Traffic, verifying: Verifying) -> Counter[str]:
    """Kills while the traffic runs; after some of them, lists the orders and runs `verify`."""
    chaos = Chaos(shardwise)
    ends = time.monotonic() + plan.chaos_seconds
    for number, strike in enumerate(strikes(plan.seed, plan.freeze_seconds, pause_seconds=plan.pause_seconds), start=1):
        chaos.carry_out(strike)
        say(f"{strike.kind} ({strike.down_seconds:.1f} s); {number} strikes, {len(traffic.orders)} orders")
        if number % STRIKES_PER_VERIFY == 0:
            verifying.ask(f"after strike {number}")
            traffic.note_final_states()
        if time.monotonic() >= ends and number >= plan.strikes_min:
            return chaos.kills
    raise AssertionError("strikes have no end")


def quiet(shardwise: Shardwise, folder: Path, plan: Plan, verifying: Verifying) -> Traffic:
    """Orders without kills, with `verify` run all the while."""
    ends = time.monotonic() + plan.quiet_seconds
    verifying.in_flight_max = 0
    name = f"{plan.seed}-quiet"
    with Traffic(shardwise, folder, name, plan.batch, QUIET_WINDOWS_SECONDS, plan.concurrency) as traffic:
        while time.monotonic() < ends:
            verifying.ask("with nothing killed")
            say(f"verify {verifying.asked}: up to {verifying.in_flight_max} in flight; {len(traffic.orders)} orders")
    if verifying.in_flight_max == 0:
        verifying.faults.append("verify never saw an order in flight: this proved nothing")
    return traffic


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
