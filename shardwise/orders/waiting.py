"""What an order that is not final waits for, read from its workflows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from domain.timestamps import short_timestamp
from tracing.facts import Round, Run


def waits_for(runs: Sequence[Run]) -> str | None:
    """In one sentence; None if no workflow runs. Between two steps, and in one that has only just begun, it is known
    only that a worker has the order."""
    running = [run for run in runs if run.closed_at is None]
    reasons = [each for run in running for each in _of_run(run)]
    if reasons:
        return "; ".join(dict.fromkeys(reasons))
    return "the step that a worker is at now" if running else None


def _of_run(run: Run) -> Iterator[str]:
    open_rounds = [each for each in run.rounds if each.end is None and not each.local]
    yield from map(_of_round, open_rounds)
    open_steps = {each.step_id for each in open_rounds}
    for timer in run.timers:
        if timer.end is not None:
            continue
        if run.is_cancellation_window(timer):
            until = short_timestamp(timer.started_at + timedelta(seconds=timer.seconds))
            yield f"the end of its cancellation window, {until}"
        elif timer.watches is not None and timer.watches not in open_steps:
            yield next(each.summary for each in run.rounds if each.step_id == timer.watches)
    if run.waiting_task is not None and not run.waiting_task.begun:
        yield f"a worker, since {short_timestamp(run.waiting_task.since)}"


def _of_round(open_round: Round) -> str:
    text = open_round.summary or open_round.activity
    if open_round.attempts:
        text += f", {open_round.attempts} attempt{'' if open_round.attempts == 1 else 's'}"
    return text + (f", the last one: {open_round.failure}" if open_round.failure else "")
