"""The page of `watch`: one look, drawn for a terminal of 80 columns or more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from cli import replicas as replicas_shown
from domain.text import on_one_line
from domain.timestamps import short_timestamp
from shardwise.operations.events import EventsDocument, consumer_name
from shardwise.operations.watch.documents import (
    InDoubtDocument,
    OrdersDocument,
    PartDocument,
    RateDocument,
    StuckDocument,
    WatchDocument,
)

_STATES = {True: ("●", "green"), False: ("✘", "bold red"), None: ("…", "dim")}
_UNKNOWN = "?"
PARKED_SHOWN_MAX = 5


def page(look: WatchDocument, hint: str = "") -> RenderableType:
    """`hint`: what a person can do, shown behind the time."""
    return Group(
        Text.assemble(("shardwise", "bold"), f"  {short_timestamp(look.at)}", (f"  {hint}" if hint else "", "dim")),
        "",
        Columns([_part(part) for part in look.parts], padding=(0, 3)),
        *_down(look),
        "",
        _orders(look.orders, look.in_flight),
        _rate(look.rate),
        *_starts(look),
        *_missing(look),
        "",
        _numbers("transfers", look.transfers.model_dump(exclude={"confirmed"})),
        "",
        _hold(look),
        _in_doubt(look.in_doubt, _without_shards(look.events)),
        *_events(look.events),
        *_replicas(look),
        "",
        *_stuck(look),
    )


class Wrapped:
    """Wraps at the edge of the screen. A live page is not wrapped otherwise, and what is behind the edge is lost."""

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._shown, options.update(no_wrap=False, overflow="fold"))


def _part(part: PartDocument) -> Text:
    mark, style = _STATES[part.up]
    return Text.assemble((mark, style), f" {on_one_line(part.name)}")


def _down(look: WatchDocument) -> Iterator[Text]:
    for part in look.parts:
        if part.up is False:
            why = part.why or "it does not answer"
            line = why if why.startswith(f"{part.name} ") else f"{part.name} is down: {why}"
            yield Text(on_one_line(line), style="red")


def _orders(orders: OrdersDocument, in_flight: int | None) -> Table:
    numbers = {"in flight": in_flight, "stuck": orders.stuck, **orders.model_dump(exclude={"stuck"})}
    return _numbers("orders", numbers)


def _numbers(title: str, numbers: Mapping[str, int | None]) -> Table:
    made = Table(title=title, title_justify="left", title_style="bold", show_edge=False)
    for name in numbers:
        made.add_column(name.replace("_", " "), justify="right")
    made.add_row(*(_number(name, number) for name, number in numbers.items()))
    return made


def _number(name: str, number: int | None) -> Text:
    if number is None:
        return Text(_UNKNOWN, style="dim")
    return Text(f"{number:,}", style="bold red" if name == "stuck" and number else "")


def _rate(rate: RateDocument) -> str:
    if rate.placed_per_second is None or rate.finished_per_second is None:
        return "rate: not known yet"
    return (
        f"placed {rate.placed_per_second:.1f}/s, finished {rate.finished_per_second:.1f}/s"
        f" over the last {rate.over_seconds:.0f} s"
    )


def _starts(look: WatchDocument) -> Iterator[Text]:
    if look.refused:
        note = "refused at their start in the last 24 h (`recover --dry-run` shows why)"
        yield Text(f"{look.refused:,} {note}", style="yellow")
    if look.others:
        note = "other workflows hold orders' ids (`recover --dry-run` shows which)"
        yield Text(f"{look.others:,} {note}", style="red")


def _missing(look: WatchDocument) -> Iterator[Text]:
    if look.missing:
        names = ", ".join(look.missing)
        yield Text(f"no answer from {names}: their last known numbers are shown, else {_UNKNOWN}", style="yellow")


def _hold(look: WatchDocument) -> str:
    hold = look.oldest_hold
    if hold is None:
        if look.orders.pending is None:
            return "oldest open hold: not known yet"
        return "no payment is on hold" + (" on the shards that answer" if look.missing else "")
    amount = f"{hold.amount} {hold.currency}"
    return on_one_line(
        f"oldest open hold: {amount} on account {hold.account_id} ({hold.shard}) for {_age(hold.age_seconds)},"
        f" order {hold.order_id}"
    )


def _without_shards(events: EventsDocument | None) -> str:
    """The shards whose events are not known now."""
    away = [shard.shard for shard in events.shards if shard.error] if events is not None else []
    return f" (without {', '.join(away)})" if away else ""


def _in_doubt(in_doubt: InDoubtDocument | None, without: str) -> Text:
    """Every two-phase commit is prepared for a moment: that alone is no alarm."""
    if in_doubt is None:
        return Text("in doubt: not known yet")
    if in_doubt.oldest_seconds is None:
        return Text(f"in doubt: nothing{without}")
    oldest = f"the oldest for {_age(in_doubt.oldest_seconds)}"
    hint = ": `shardwise recover`" if in_doubt.alarm else ""
    transactions = f"{in_doubt.transactions:,} prepared transaction{'' if in_doubt.transactions == 1 else 's'}"
    return Text(f"in doubt: {transactions}, {oldest}{hint}{without}", style="bold red" if in_doubt.alarm else "")


def _events(events: EventsDocument | None) -> Iterator[RenderableType]:
    """One line if all is well; below it what is parked, and what was restored."""
    if events is None:
        yield "events: not known yet"
        return
    style = "bold red" if events.alarm else ""
    behind_by = ", ".join(f"{name} {behind}" for name, behind in _behind(events)) or "nothing is known"
    yield Text(f"events: {behind_by}{_without_shards(events)}", style=style)
    for alarm in events.alarms:
        yield Text(alarm, style="bold red")
    parked = [(shard.shard, each) for shard in events.shards for each in shard.parked]
    for name, each in parked[:PARKED_SHOWN_MAX]:
        what = f"{each.aggregate} {each.aggregate_id}, version {each.version}"
        line = f"parked on {name} by {consumer_name(each.consumer)}: {what}: {each.reason}"
        yield Text(on_one_line(line), style="red")
    if len(parked) > PARKED_SHOWN_MAX:
        yield Text(f"and {len(parked) - PARKED_SHOWN_MAX} more (`shardwise projection status`)", style="red")


def _replicas(look: WatchDocument) -> Iterator[RenderableType]:
    if look.replicas:
        yield ""
        yield from replicas_shown.rendered(look.replicas)


def _behind(events: EventsDocument) -> Iterator[tuple[str, str]]:
    """For each consumer, over all shards together."""
    lags = [each for shard in events.shards for each in shard.consumers]
    for consumer in dict.fromkeys(each.consumer for each in lags):
        mine = [each for each in lags if each.consumer == consumer]
        count, seconds = sum(each.events for each in mine), max(each.seconds for each in mine)
        yield consumer_name(consumer), f"{count:,} behind for {_age(seconds)}" if count else "up to date"


def _stuck(look: WatchDocument) -> Iterator[RenderableType]:
    if not look.stuck:
        yield "no order is stuck" if look.orders.stuck == 0 else ""
        return
    made = Table(title="stuck", title_justify="left", title_style="bold", show_edge=False)
    for name in ("order", "age", "waits for", "because"):
        made.add_column(name, overflow="fold")
    for each in look.stuck:
        made.add_row(
            *map(on_one_line, (each.order_id, _age(each.age_seconds), _waits_for(each, look), each.failure or ""))
        )
    yield made


def _waits_for(stuck: StuckDocument, look: WatchDocument) -> str:
    if stuck.step is None:
        return "an operator: order retry"
    text = f"{stuck.step}, {stuck.attempts} attempts"
    if stuck.next_attempt_at is None:
        return text
    seconds = max((stuck.next_attempt_at - look.at).total_seconds(), 0)
    return f"{text}, next in {seconds:.0f} s"


def _age(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"
