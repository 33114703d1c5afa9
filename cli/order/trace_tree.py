"""Draws a trace as a tree for a person. Each line shows `+` the time since the order began, then how long it took.

Labels wrap inside the tree: it is read at 80 columns as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text
from rich.tree import Tree

from domain.orders import Style
from domain.steps import Phase
from domain.timestamps import short_timestamp
from shardwise.orders.documents import why_of
from tracing.documents import (
    DecisionDocument,
    ReactorDocument,
    Result,
    RunDocument,
    StepDocument,
    TraceDocument,
)

_MARKS: dict[Result, tuple[str, str]] = {
    "done": ("✔", "green"),
    "refused": ("✘", "red"),
    "undone": ("↶", "yellow"),
    "nothing_to_undo": ("·", "dim"),
    "failed": ("✘", "red"),
    "timed_out": ("✘", "red"),
    "cancelled": ("⊘", "yellow"),
    "abandoned": ("⊘", "yellow"),
    "fired": ("✔", "green"),
    "pending": ("…", "cyan"),
}
_TITLES: dict[Phase, str] = {
    Phase.FORWARD: "forward, until the decision",
    Phase.COMPLETION: "completion, only forward",
    Phase.COMPENSATION: "compensation, everything is given back",
}
# A row older than its step by this much comes from an attempt whose task or run was lost, not from another clock.
_CLOCKS_DIFFER_SECONDS = 1.0


class TraceTree:
    """The tree of one trace. Wraps at the console's width, also if the console does not."""

    def __init__(self, trace: TraceDocument) -> None:
        self._trace = trace
        self._began = trace.started_at

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self.tree(), options.update(no_wrap=False, overflow="fold"))

    def tree(self) -> Tree:
        trace = self._trace
        tree = Tree(_headline(trace), guide_style="dim")
        for gap in _gaps(trace):
            tree.add(Text(gap, style="yellow"))
        if trace.style is Style.CHOREOGRAPHED:
            self._add_events(tree)
            return tree
        run_ids = list(dict.fromkeys([*(run.run_id for run in trace.runs), *(step.run_id for step in trace.steps)]))
        with_steps = [run_id for run_id in run_ids if any(step.run_id == run_id for step in trace.steps)]
        for n, run_id in enumerate(with_steps, start=1):
            branch = tree.add(f"run {n} of {len(with_steps)}") if len(with_steps) > 1 else tree
            self._add_phases(branch, [step for step in trace.steps if step.run_id == run_id])
        self._add_runs(tree)
        return tree

    def _add_events(self, tree: Tree) -> None:
        """Who reacted to what: first the runs that are no reactor's, then the events, then the steps known from rows
        only."""
        trace = self._trace
        reactors = {each.workflow_id for event in trace.events for each in event.reactors}
        for run in trace.runs:
            if run.workflow_id not in reactors:
                branch = tree.add(Text.assemble((f"{run.workflow_id} ", "bold"), _run_line(run, trace.now)))
                self._add_steps_of(branch, run.workflow_id)
        for event in trace.events:
            when = ", ".join(part for part in (event.shard, self._since(event.at)) if part)
            branch = tree.add(Text.assemble((event.kind, "bold"), (f"  version {event.version}, {when}", "dim")))
            for reactor in event.reactors:
                line = Text.assemble(f"{reactor.service}: {reactor.name}", (f"  {_reactor_line(reactor)}", "dim"))
                self._add_steps_of(branch.add(line), reactor.workflow_id)
        rest = [step for step in trace.steps if step.workflow_id is None]
        if rest:
            branch = tree.add(Text("known from rows alone", style="bold"))
            for step in rest:
                self._add_either(branch, step)

    def _add_steps_of(self, tree: Tree, workflow_id: str) -> None:
        for step in self._trace.steps:
            if step.workflow_id == workflow_id:
                self._add_either(tree, step)

    def _add_either(self, tree: Tree, step: StepDocument) -> None:
        self._add_step(tree, step, self._decision_line(step) if step.phase is Phase.DECISION else self._line(step))

    def _add_phases(self, tree: Tree, steps: Sequence[StepDocument]) -> None:
        self._add_phase(tree, Phase.FORWARD, steps)
        decisions = [step for step in steps if step.phase is Phase.DECISION]
        for step in decisions:
            self._add_step(tree, step, self._decision_line(step))
        if not decisions:
            tree.add(Text("◇ not decided", style="bold"))
        self._add_phase(tree, Phase.COMPLETION, steps)
        self._add_phase(tree, Phase.COMPENSATION, steps)

    def _add_phase(self, tree: Tree, phase: Phase, steps: Sequence[StepDocument]) -> None:
        of_phase = [step for step in steps if step.phase is phase]
        if of_phase:
            branch = tree.add(Text(_TITLES[phase], style="bold"))
            for step in of_phase:
                self._add_step(branch, step, self._line(step))

    def _add_step(self, tree: Tree, step: StepDocument, line: Text) -> None:
        branch = tree.add(line)
        for more in self._more(step):
            branch.add(Text(more, style="dim"))

    def _line(self, step: StepDocument) -> Text:
        mark, style = _MARKS[step.result]
        line = Text.assemble((f"{mark} ", style), step.summary)
        if step.kind == "timer" or (step.result != "done" and step.kind != "lost_task"):
            line.append(f": {step.result.replace('_', ' ')}", style=style)
        if step.detail and step.kind != "step":
            line.append(f", {step.detail}")
        return line.append(f"  {self._where_and_when(step)}", style="dim")

    def _decision_line(self, step: StepDocument) -> Text:
        decision = self._trace.decision
        outcome = _decision_text(decision) if decision and step.result in ("done", "refused") else f"{step.result}"
        line = Text.assemble(("◆ DECIDED: " if decision else "◆ DECIDING: ", "bold"), (outcome, "bold"))
        return line.append(f"  {self._where_and_when(step)}", style="dim")

    def _where_and_when(self, step: StepDocument) -> str:
        kinds = list(dict.fromkeys(each.kind for each in step.rounds))
        how = " then ".join(kinds) if kinds else "known from its row" if step.kind == "step" else None
        took = _duration(step.seconds) if step.seconds is not None else None
        return ", ".join(part for part in (step.shard, self._since(step.started_at), took, how) if part)

    def _more(self, step: StepDocument) -> Iterator[str]:
        if step.reason and step.kind == "step" and step.phase is not Phase.DECISION:
            yield f"{step.reason}: {step.detail}"
        failing = any(each.result != "done" for each in step.rounds) or (step.attempts or 0) > 1
        if failing or step.result == "pending":
            yield from self._attempts(step)
        elif step.failure:
            yield step.failure
        if step.alarm is not None and step.alarm.result != "cancelled":
            fired = step.alarm.result == "fired"
            state = f"fired {self._since(step.alarm.at)}: the order was stuck" if fired else "set"
            yield f"alarm after {step.alarm.after_seconds:g} s: {state}"
        row = step.row
        if row is not None and row.at is not None and step.started_at is not None and step.rounds:
            early = (step.started_at - row.at).total_seconds()
            if early > _CLOCKS_DIFFER_SECONDS and step.result != "nothing_to_undo":
                yield f"took effect {_duration(early)} before, {self._since(row.at)}: this is the stored answer"
        if row is not None and row.undone_at is not None and step.result == "undone":
            yield f"taken back {self._since(row.undone_at)}"

    def _attempts(self, step: StepDocument) -> Iterator[str]:
        for each in step.rounds:
            count = "attempts not kept" if each.attempts is None else _plural(each.attempts, "attempt")
            result = "goes on" if each.result == "pending" else each.result.replace("_", " ")
            yield f"{each.kind}: {count}, {result}" + (f"; last failure: {each.failure}" if each.failure else "")
        if step.result == "pending" and step.kind == "step":
            if step.next_attempt_at is None:
                yield "an attempt runs now"
            else:
                seconds = (step.next_attempt_at - self._trace.now).total_seconds()
                yield f"next attempt in {_duration(seconds)}" if seconds > 0 else "next attempt is due now"

    def _add_runs(self, tree: Tree) -> None:
        if not self._trace.runs:
            return
        branch = tree.add(Text(f"workflow {self._trace.runs[0].workflow_id} in Temporal", style="bold"))
        for run in self._trace.runs:
            branch.add(_run_line(run, self._trace.now))

    def _since(self, moment: datetime | None) -> str | None:
        if moment is None or self._began is None:
            return None
        seconds = (moment - self._began).total_seconds()
        return f"{'-' if seconds < 0 else '+'}{abs(seconds):.3f} s"


def _headline(trace: TraceDocument) -> Text:
    head = Text.assemble(f"order {trace.order_id} is ", (str(trace.status or "unknown"), "bold"))
    head.append(why_of(trace.status, trace.reason, trace.detail))
    total = f"{trace.total} {trace.currency}" if trace.total is not None else None
    began = f"began {short_timestamp(trace.started_at)}" if trace.started_at else None
    about = ", ".join(part for part in (f"customer {trace.customer_id}", total, began) if part)
    return head.append(f"\n{about}", style="dim")


def _gaps(trace: TraceDocument) -> Iterator[str]:
    away = [shard for shard, state in trace.sources.shards.items() if state == "away"]
    if away:
        yield f"{', '.join(away)} away: what only rows there show is missing"
    if trace.sources.temporal == "away":
        yield "Temporal away: shown from rows alone, without attempts, timers and requests"
    if trace.sources.temporal == "forgotten":
        yield "Temporal has forgotten the workflow: shown from rows alone, without attempts, timers and requests"


def _decision_text(decision: DecisionDocument) -> str:
    if decision.outcome == "confirmed":
        return "confirmed, payment captured and shipment requested"
    there = " without a row" if decision.outcome == "absent" else ""
    return f"abort{there}, {decision.reason}"


def _reactor_line(reactor: ReactorDocument) -> str:
    took = f" in {_duration(reactor.seconds)}" if reactor.seconds is not None else ""
    return f"{reactor.workflow_id}, {reactor.status or 'not started, or not known'}{took}"


def _run_line(run: RunDocument, now: datetime) -> str:
    took = f" after {_duration(run.seconds)}" if run.seconds is not None else ""
    text = f"run {run.run_id}: {run.status}{took}" + (f" ({run.why})" if run.why else "")
    if run.task is not None:
        seconds = _duration((now - run.task.since).total_seconds())
        waiting = run.task.state == "waiting"
        text += f"; its task {f'waits for a worker, for {seconds}' if waiting else f'was begun {seconds} ago'}"
    return text


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
