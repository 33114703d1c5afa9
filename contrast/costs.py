"""What one transfer costs when nothing else runs: events, round trips, commits, and how long it locks its accounts."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from temporalio.client import Client

from contrast.accounts import ContrastAccounts
from contrast.documents import PROTOCOLS, Cost
from contrast.load import CENT
from contrast.probes.sent_statements import Sent, commits, locks_held, round_trips
from contrast.watched_worker import WatchedWorker
from domain.errors import ShardwiseError
from domain.transfers import Protocol, Transfer, TransferStatus

ACCOUNTS_PER_SHARD = 2
# They open the connections and have the statements parsed.
WARM_UP_TRANSFERS = 3


@dataclass(frozen=True, slots=True)
class _Run:
    seconds: float
    sent: list[Sent]


async def measure_costs(
    client: Client, worker: WatchedWorker, accounts: ContrastAccounts, transfers: int
) -> list[Cost]:
    """One transfer after the other on the worker inside this process, each protocol from the same account."""
    here, there = accounts.shards[:2]
    source, neighbour = accounts.take(here, 2)
    [target] = accounts.take(there)
    costs = []
    for protocol in PROTOCOLS:
        to = neighbour if protocol is Protocol.LOCAL else target
        runs = []
        for number in range(-WARM_UP_TRANSFERS, transfers):
            transfer = Transfer(f"{accounts.run_id}-cost-{protocol}-{number + WARM_UP_TRANSFERS}", source, to, CENT)
            run = await _run(worker, transfer, protocol)
            if number >= 0:
                runs.append(run)
        history = await client.get_workflow_handle(transfer.saga_id).fetch_history()
        costs.append(_cost(protocol, runs, len(history.events)))
    return costs


async def _run(worker: WatchedWorker, transfer: Transfer, protocol: Protocol) -> _Run:
    sent_before = len(worker.trace.sent)
    began = time.perf_counter()
    result = await worker.carry_out(transfer, protocol)
    seconds = time.perf_counter() - began
    if result.status is not TransferStatus.SETTLED:
        raise ShardwiseError("contrast_declined", f"{transfer.saga_id} was declined: {result.refusal}")
    return _Run(seconds, worker.trace.sent[sent_before:])


def _cost(protocol: Protocol, runs: list[_Run], history_events: int) -> Cost:
    held = [[each.seconds for each in locks_held(run.sent)] for run in runs]
    return Cost(
        protocol=protocol,
        transfers=len(runs),
        latency_ms=_median_ms([run.seconds for run in runs]),
        history_events=history_events,
        round_trips=statistics.median(round_trips(run.sent) for run in runs),
        commits=statistics.median(commits(run.sent) for run in runs),
        locked_ms=_median_ms([max(each) for each in held]),
        locked_total_ms=_median_ms([sum(each) for each in held]),
    )


def _median_ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1000, 2)
