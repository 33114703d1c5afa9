"""What the demo shows at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType

from cli.audit import Audit
from cli.common import command_as_typed
from cli.demo_story import Scene
from cli.order_documents import OrderDocument, why_of
from cli.output import table
from cli.verify import document_of


@dataclass(frozen=True, slots=True)
class Told:
    """One scene and what became of it."""

    scene: Scene
    order: OrderDocument
    seconds: float

    @property
    def as_expected(self) -> bool:
        return (self.order.status, self.order.reason) == (self.scene.expected, self.scene.reason)

    @property
    def ended(self) -> str:
        order = self.order
        # The detail says what the reason's code would.
        told = order.status + why_of(order.status, order.status if order.reason else None, order.detail)
        return told if self.as_expected else f"{told} (expected {self.scene.expected})"


class Stays(Enum):
    """How long the demo's stack is up."""

    NOT = "it is stopped at once"
    UNTIL_A_KEY = "until somebody at the terminal presses a key"
    KEPT = "after the demo, until `shardwise down`"


@dataclass(frozen=True, slots=True)
class Shown:
    """`ui`: where one history can be looked at; None where nothing would answer there any more."""

    told: Sequence[Told]
    audit: Audit
    ui: str | None
    seconds: float

    @property
    def ok(self) -> bool:
        return self.audit.findings.ok and all(each.as_expected for each in self.told)

    def document(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "orders": [
                {"title": each.scene.title, "as_expected": each.as_expected, **each.order.model_dump(mode="json")}
                for each in self.told
            ],
            "verify": document_of(self.audit),
            "ui": self.ui,
            "seconds": round(self.seconds, 1),
        }

    def page(self, stays: Stays, data_dir: Path) -> RenderableType:
        rows = [(each.order.order_id, each.scene.title, each.ended, f"{each.seconds:.1f} s") for each in self.told]
        return Group(
            table(("order", "what happens", "ends as", "took"), rows, whole=("order", "took")),
            self._verified(),
            f"{'all as expected' if self.ok else 'NOT as expected'}, in {self.seconds:.1f} s",
            *([f"one history to look at: {self.ui}"] if self.ui is not None else []),
            _farewell(stays, data_dir),
        )

    def _verified(self) -> str:
        found = self.audit.findings
        # `orphans 28` would read as so much damage.
        looked_at = ", ".join(
            f"{check.replace('_', ' ')} {finding.violation_count} of {finding.checked}"
            for check, finding in found.by_check.items()
            if finding.checked
        )
        rows = sum(finding.checked for finding in found.by_check.values())
        wrong = sum(finding.violation_count for finding in found.by_check.values())
        return f"verify {'ok' if found.ok else 'FOUND DAMAGE'}: {wrong} violations in {rows} rows ({looked_at})"


def _farewell(stays: Stays, data_dir: Path) -> str:
    match stays:
        case Stays.KEPT:
            stop = f"{command_as_typed()} down --data-dir {data_dir}"
            return f"the stack is left up; stop it with: {stop}; then remove the folder"
        case Stays.UNTIL_A_KEY:
            return "the stack stays up until you press a key"
        case Stays.NOT:
            return "the stack is stopped now; `make demo DEMO_ARGS=--keep` leaves it up, with a history to look at"
