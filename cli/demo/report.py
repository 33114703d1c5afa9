"""What the demo shows at its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType

from cli.terminal.common import command_as_typed
from cli.terminal.output import table
from shardwise.demo.stage import Performance, Played
from shardwise.orders.documents import why_of


class Stays(Enum):
    """How long the demo's stack is up."""

    NOT = "it is stopped at once"
    UNTIL_A_KEY = "until somebody at the terminal presses a key"
    KEPT = "after the demo, until `shardwise down`"


@dataclass(frozen=True, slots=True)
class Shown:
    """`stays`: the stack, so that one history can be looked at."""

    done: Performance
    stays: bool
    seconds: float

    @property
    def ui(self) -> str | None:
        return self.done.history if self.stays else None

    @property
    def ok(self) -> bool:
        return self.done.verified.ok and all(each.as_expected for each in self.done.played)

    def document(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "orders": [
                {"title": each.scene.title, "as_expected": each.as_expected, **each.order.model_dump(mode="json")}
                for each in self.done.played
            ],
            "verify": self.done.verified.document(),
            "ui": self.ui,
            "seconds": round(self.seconds, 1),
        }

    def page(self, stays: Stays, data_dir: Path) -> RenderableType:
        rows = [
            (each.order.order_id, each.scene.title, _ended(each), f"{each.seconds:.1f} s") for each in self.done.played
        ]
        return Group(
            table(("order", "what happens", "ends as", "took"), rows, whole=("order", "took")),
            self._verified(),
            f"{'all as expected' if self.ok else 'NOT as expected'}, in {self.seconds:.1f} s",
            *([f"one history to look at: {self.ui}"] if self.ui is not None else []),
            _farewell(stays, data_dir),
        )

    def _verified(self) -> str:
        found = self.done.verified
        # `orphans 28` would read as so much damage.
        looked_at = ", ".join(
            f"{each.name.replace('_', ' ')} {each.violation_count} of {each.checked}"
            for each in found.checks
            if each.checked
        )
        rows = sum(each.checked for each in found.checks)
        wrong = sum(each.violation_count for each in found.checks)
        return f"verify {'ok' if found.ok else 'FOUND DAMAGE'}: {wrong} violations in {rows} rows ({looked_at})"


def _ended(played: Played) -> str:
    order = played.order
    # The detail says what the reason's code would.
    told = order.status + why_of(order.status, order.status if order.reason else None, order.detail)
    return told if played.as_expected else f"{told} (expected {played.scene.expected})"


def _farewell(stays: Stays, data_dir: Path) -> str:
    match stays:
        case Stays.KEPT:
            stop = f"{command_as_typed()} down --data-dir {data_dir}"
            return f"the stack is left up; stop it with: {stop}; then remove the folder"
        case Stays.UNTIL_A_KEY:
            return "the stack stays up until you press a key"
        case Stays.NOT:
            return "the stack is stopped now; `make demo DEMO_ARGS=--keep` leaves it up, with a history to look at"
