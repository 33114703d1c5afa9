"""One run of the bank test: transfers by every protocol while parts are killed, then every cent accounted for."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from temporalio.client import Client

from tests.soak.bank_accounts import open_bank
from tests.soak.bank_books import Rows, faults, read_rows
from tests.soak.bank_clients import Clients
from tests.soak.bank_snapshots import Snapshots
from tests.soak.chaos import Chaos, strikes
from tests.soak.soak import say
from tests.support.command import Shardwise

STRIKES_PER_VERIFY = 3
REST_SECONDS_MAX = 60.0
LOG_LINES_MAX = 5
PAUSE_SECONDS = (0.0, 4.0)
WEIGHTS = {"shard": 5, "worker": 4, "worker and shard": 3, "temporal": 1, "everything": 1, "frozen shard": 1}


@dataclass(frozen=True)
class Plan:
    """Goes on for `seconds`, and until `strikes_min` were carried out; the first ones are one of each kind."""

    seed: str
    seconds: float
    strikes_min: int = 3
    freeze_seconds: float = 8.0
    weights: Mapping[str, int] = field(default_factory=lambda: WEIGHTS)
    pause_seconds: tuple[float, float] = PAUSE_SECONDS


@dataclass
class Report:
    """`endings`: how many transfers ended how, by protocol. `slowest`: the longest that a client waited with nothing
    killed, `rest`: from the last `recover` until all were final; both in seconds."""

    endings: Counter[tuple[str, str]] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    recovered: int = 0
    verified: int = 0
    in_doubt_max: int = 0
    in_doubt_left: int = 0
    looks: int = 0
    pairings: int = 0
    slowest: float = 0.0
    rest: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """One line, and one for each fault."""
        by_protocol = "; ".join(self._of(protocol) for protocol in sorted({protocol for protocol, _ in self.endings}))
        kills = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kills.items()))
        parts = [
            f"{self.endings.total()} transfers ({by_protocol})",
            f"strikes: {kills}",
            f"{self.counts['workflows terminated']} terminated, {self.recovered} recovered",
            f"verify ok {self.verified} times under way",
            f"in doubt up to {self.in_doubt_max}, {self.in_doubt_left} left",
            f"{self.looks} snapshots, {self.pairings} across",
            f"slowest {self.slowest:.1f} s, the last one {self.rest:.1f} s after recover",
            f"{len(self.faults)} FAULTS" if self.faults else "conserved",
        ]
        return "\n".join([" | ".join(parts), *self.faults])

    def _of(self, protocol: str) -> str:
        counts = (f"{self.endings[protocol, status]} {status}" for status in ("settled", "declined", "pending"))
        return f"{protocol}: {', '.join(counts)}"


def bank(shardwise: Shardwise, folder: Path, plan: Plan) -> Report:
    """On an empty stack. Everything that is wrong is in the report's faults."""
    places = open_bank(shardwise, folder)
    clients, report = Clients(shardwise, plan.seed, places), Report()
    with Snapshots(shardwise, places) as snapshots:
        with clients:
            returns = _strike(shardwise, plan, clients, report)
        _recover(shardwise, report)
        began = time.monotonic()
        clients.settle()
        report.rest = time.monotonic() - began
        _at_rest(shardwise, report)
    rows = read_rows(shardwise)
    report.in_doubt_left, report.in_doubt_max = len(rows.prepared), snapshots.in_doubt_max
    report.looks, report.pairings = min(snapshots.looks.values(), default=0), snapshots.pairings
    report.counts = clients.counts
    report.slowest = max((wait.in_peace(returns) for wait in clients.waits), default=0.0)
    _count_endings(clients, rows, report)
    report.faults += [
        *faults(clients.asked, clients.answers.endings, rows),
        *clients.answers.faults,
        *clients.faults,
        *snapshots.faults,
        *_log_faults(shardwise),
    ]
    return report


def _strike(shardwise: Shardwise, plan: Plan, clients: Clients, report: Report) -> list[float]:
    """Kills while the clients ask; after some of them, recovers what was terminated and asks whether all is well. When
    all parts were back each time."""
    chaos = Chaos(shardwise)
    ends, returns = time.monotonic() + plan.seconds, []
    for number, strike in enumerate(strikes(plan.seed, plan.freeze_seconds, plan.weights, plan.pause_seconds), start=1):
        chaos.carry_out(strike)
        returns.append(time.monotonic())
        say(f"{strike.kind} ({strike.down_seconds:.1f} s); {number} strikes, {len(clients.asked)} transfers")
        last = time.monotonic() >= ends and number >= plan.strikes_min
        if number % STRIKES_PER_VERIFY == 0 or last:
            with clients.no_terminations:
                _recover(shardwise, report)
                report.verified += _verify(shardwise, report, f"after strike {number}") is not None
        if last:
            report.kills = chaos.kills
            return returns
    raise AssertionError("strikes have no end")


def _recover(shardwise: Shardwise, report: Report) -> dict[str, int]:
    """How many it found, by kind."""
    answer = shardwise.inside("recover")
    if answer.exit_code != 0:
        report.faults.append(f"recover: exit {answer.exit_code}: {answer.stdout}{answer.stderr}")
        return {}
    found, in_doubt = answer.document, answer.document["in_doubt"]
    report.recovered += len(found["transfers"])
    return {
        "transfers": len(found["transfers"]),
        "in doubt": len(in_doubt["resolved"]) + len(in_doubt["waiting"]) + len(in_doubt["unreachable"]),
    }


def _verify(shardwise: Shardwise, report: Report, when: str) -> int | None:
    """How many transfers it saw in flight; None if it is not ok."""
    answer = shardwise.inside("verify")
    if answer.exit_code != 0:
        report.faults.append(f"verify {when}: exit {answer.exit_code}: {answer.stdout}{answer.stderr}")
        return None
    return int(answer.document["in_flight"]["transfers"])


def _at_rest(shardwise: Shardwise, report: Report) -> None:
    """Nothing in flight, and nothing more to recover. A declined transfer can still have its admission to withdraw."""
    deadline = time.monotonic() + REST_SECONDS_MAX
    while in_flight := _verify(shardwise, report, "at rest"):
        if time.monotonic() > deadline:
            report.faults.append(f"{in_flight} transfers are still in flight with nothing killed")
            break
    # Rows can all be right, and a workflow still wait for something: for ever, perhaps.
    while at_work := asyncio.run(_at_work(shardwise)):
        if time.monotonic() > deadline:
            report.faults.append(f"workflows at work with nothing killed: {at_work}")
            break
    found = _recover(shardwise, report)
    if any(found.values()):
        report.faults.append(f"at rest recover found {found}")


async def _at_work(shardwise: Shardwise) -> list[str]:
    client = await Client.connect(shardwise.inside("status").document["temporal"]["address"])
    running = 'WorkflowType = "TransferWorkflow" AND ExecutionStatus = "Running"'
    return [workflow.id async for workflow in client.list_workflows(running)]


def _count_endings(clients: Clients, rows: Rows, report: Report) -> None:
    protocols = rows.protocols
    for wanted in clients.asked:
        ending = clients.answers.endings.get(wanted.key)
        status = "pending" if ending is None else ending.status
        report.endings[protocols.get(wanted.key, "none"), status] += 1


def _log_faults(shardwise: Shardwise) -> list[str]:
    """Log lines that a person must look into: a traceback, or an error of ours that is damage and no outage."""
    found = []
    for log in sorted((shardwise.data_dir / "logs").glob("worker*")):
        lines = [line for line in log.read_text().splitlines() if "Traceback" in line or " ERROR shardwise" in line]
        found += [f"{log.name}: {line}" for line in lines[:LOG_LINES_MAX]]
    return found
