"""Transactions in doubt, as `recover` and `status` show them."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from cli.terminal.output import table
from domain.in_doubt import InDoubt, InDoubtReport
from domain.two_phase import ParticipantOutcome


def rendered(report: InDoubtReport, dry_run: bool) -> Iterator[RenderableType]:
    """Yields nothing if nothing is in doubt."""
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
    """For `status`, if there are any."""
    rows = [(each.gid, each.shard, f"{each.seconds:.0f} s") for each in in_doubt]
    return table(("transaction in doubt", "shard", "for"), rows)


def _ending(outcome: ParticipantOutcome) -> str:
    return "rolled back: no shard knows its transfer" if outcome is ParticipantOutcome.UNKNOWN else outcome.value
