"""What the demo shows at its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType

from cli.terminal.hints import command_as_typed
from cli.terminal.output import table
from shardwise.demo.run import DemoRun, FinishedOrder
from shardwise.orders.documents import why_of


class StackStays(Enum):
    """How long the demo's stack is up."""

    NOT = "it is stopped at once"
    UNTIL_A_KEY = "until a key is pressed at the terminal"
    KEPT = "after the demo, until `shardwise down`"


@dataclass(frozen=True, slots=True)
class DemoReport:
    """`stays`: whether the stack stays up, so that one history can be looked at."""

    run: DemoRun
    stays: bool
    seconds: float

    @property
    def ui(self) -> str | None:
        return self.run.history if self.stays else None

    @property
    def ok(self) -> bool:
        return self.run.verified.ok and all(each.as_expected for each in self.run.orders)

    def document(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "orders": [
                {"title": each.demo.title, "as_expected": each.as_expected, **each.order.model_dump(mode="json")}
                for each in self.run.orders
            ],
            "verify": self.run.verified.document(),
            "ui": self.ui,
            "seconds": round(self.seconds, 1),
        }

    def page(self, stays: StackStays, data_dir: Path) -> RenderableType:
        rows = [
            (each.order.order_id, each.demo.title, _outcome(each), f"{each.seconds:.1f} s") for each in self.run.orders
        ]
        return Group(
            table(("order", "what happens", "ends as", "took"), rows, whole=("order", "took")),
            self._verified(),
            f"{'all as expected' if self.ok else 'NOT as expected'}, in {self.seconds:.1f} s",
            *([f"one history to look at: {self.ui}"] if self.ui is not None else []),
            _what_becomes_of_the_stack(stays, data_dir),
        )

    def _verified(self) -> str:
        found = self.run.verified
        # `orphans 28` alone would read as 28 damaged rows.
        checks = ", ".join(
            f"{each.name.replace('_', ' ')} {each.violation_count} of {each.checked}"
            for each in found.checks
            if each.checked
        )
        rows = sum(each.checked for each in found.checks)
        wrong = sum(each.violation_count for each in found.checks)
        return f"verify {'ok' if found.ok else 'FOUND DAMAGE'}: {wrong} violations in {rows} rows ({checks})"


def _outcome(finished: FinishedOrder) -> str:
    order = finished.order
    # The detail says what the reason's code would.
    text = order.status + why_of(order.status, order.status if order.reason else None, order.detail)
    return text if finished.as_expected else f"{text} (expected {finished.demo.expected})"


def _what_becomes_of_the_stack(stays: StackStays, data_dir: Path) -> str:
    match stays:
        case StackStays.KEPT:
            stop = f"{command_as_typed()} down --data-dir {data_dir}"
            return f"the stack is left up; stop it with: {stop}; then remove the folder"
        case StackStays.UNTIL_A_KEY:
            return "the stack stays up until you press a key"
        case StackStays.NOT:
            return "the stack is stopped now; `make demo DEMO_ARGS=--keep` leaves it up, with a history to look at"
