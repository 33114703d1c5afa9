"""Transactions in doubt, as `recover` ends them and `status` tells of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from functools import partial
from typing import Any

from rich.console import RenderableType

from activities.coordinators import coordinator_of
from cli.connections import Connections
from cli.output import table
from domain.errors import InvalidInput
from domain.in_doubt import InDoubt, InDoubtReport
from domain.two_phase import Outcome
from shards.engines import Database
from shards.in_doubt import Sweep, in_doubt_on
from stack.embedded.status import StackStatus
from stack.settings import Settings


async def resolve_in_doubt(to: Connections, dry_run: bool) -> InDoubtReport:
    """What `InDoubtSweeper` does every half minute, now and for young ones too. `dry_run`: only say what would be."""
    ask = partial(coordinator_of, await to.temporal())
    return await Sweep(to.router, ask, older_than_seconds=0, dry_run=dry_run).run()


async def forgotten(settings: Settings, found: StackStatus) -> list[InDoubt]:
    """What is in doubt for longer than the setting allows, on the shards that are up."""
    in_doubt: list[InDoubt] = []
    async with AsyncExitStack() as opened:
        shards = [Database(server.name, server.dsn, pool_size=1) for server in found.shards if server.up]
        for shard in shards:
            opened.push_async_callback(shard.close)
        # A database that `up` has not made yet has none.
        with suppress(InvalidInput):
            in_doubt, _ = await in_doubt_on(shards)
    return [each for each in in_doubt if each.seconds > settings.in_doubt_alarm_seconds]


def document_of(report: InDoubtReport) -> dict[str, Any]:
    return asdict(report)


def told(report: InDoubtReport, dry_run: bool) -> Iterator[RenderableType]:
    """Nothing where nothing is in doubt."""
    if report.resolved:
        ended = "would be ended" if dry_run else "ended"
        rows = [(each.gid, each.shard, _ending(each.outcome)) for each in report.resolved]
        yield table(("in doubt", "shard", ended), rows)
    if report.waiting:
        why = [(each.gid, each.shard, f"{each.seconds:.0f} s", each.why) for each in report.waiting]
        yield table(("in doubt", "shard", "for", "waits, because"), why)
    if report.unreachable:
        yield f"in doubt: not known of {', '.join(report.unreachable)}, which do not answer"


def alarm(in_doubt: list[InDoubt]) -> RenderableType:
    """For `status`, where there is any."""
    rows = [(each.gid, each.shard, f"{each.seconds:.0f} s") for each in in_doubt]
    return table(("transaction in doubt", "shard", "for"), rows)


def _ending(outcome: Outcome) -> str:
    return "rolled back: no shard knows its transfer" if outcome is Outcome.UNKNOWN else outcome.value
