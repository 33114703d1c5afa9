"""What the demo shows at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType

from cli.audit import Audit
from cli.demo_story import Scene
from cli.order_documents import OrderDocument
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


@dataclass(frozen=True, slots=True)
class Shown:
    told: Sequence[Told]
    audit: Audit
    ui: str
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

    def page(self, kept_in: Path | None) -> RenderableType:
        """`kept_in`: the data directory of a stack that goes on running."""
        rows = [
            (
                each.order.order_id,
                each.scene.title,
                each.order.status + ("" if each.as_expected else f" (expected {each.scene.expected})"),
                each.order.detail or "",
                each.order.customer_shard or "",
                f"{each.seconds:.1f} s",
            )
            for each in self.told
        ]
        return Group(
            table(("order", "what happens", "ends as", "because", "customer's shard", "took"), rows),
            self._verified(),
            f"one history to look at: {self.ui}",
            _farewell(kept_in),
            f"{'all as expected' if self.ok else 'NOT as expected'}, in {self.seconds:.1f} s",
        )

    def _verified(self) -> str:
        found = self.audit.findings
        checks = ", ".join(f"{check} {finding.checked}" for check, finding in found.by_check.items())
        return f"verify {'ok' if found.ok else 'FOUND DAMAGE'}: {checks}"


def _farewell(kept_in: Path | None) -> str:
    if kept_in is None:
        return "the stack is stopped now; `make demo DEMO_ARGS=--keep` leaves it up to look at"
    return f"the stack is left up; stop it with: shardwise down --data-dir {kept_in}"
