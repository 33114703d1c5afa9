"""`import orders` one file after the other, as long as it is wanted; and every final status reported of its orders."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.soak.background import Background
from tests.soak.orders import Wanted, write_orders
from tests.support.command import Shardwise

FINAL = ("confirmed", "rejected", "cancelled")
NOT_FINAL = ("pending", "failed")
SETTLE_ROUNDS_MAX = 20
LISTED = 10_000
CONCURRENCY = 20


@dataclass
class File:
    """`counts`: the document of each import of it that finished, oldest first."""

    path: Path
    orders: list[Wanted]
    window_seconds: float
    counts: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def is_settled(self) -> bool:
        """The last import reported a final status of every order."""
        return bool(self.counts) and sum(self.counts[-1][name] for name in FINAL) == len(self.orders)


class Traffic(Background):
    """Inside the block a thread imports; at its end the file that is being imported is finished.

    `windows`: the cancellation windows in seconds that files are given in turn. Without one an order is over in tens of
    milliseconds, and no kill finds it in flight.
    """

    def __init__(
        self,
        shardwise: Shardwise,
        folder: Path,
        seed: str,
        batch: int,
        windows: Sequence[float] = (0.0,),
        concurrency: int = CONCURRENCY,
    ) -> None:
        super().__init__()
        self.files: list[File] = []
        self.faults: list[str] = []
        # Every final state that any command reported, once: an order reported as two of them is a fault.
        self.reported: dict[str, str] = {}
        self._shardwise = shardwise
        self._folder = folder
        self._name = seed
        self._chance = random.Random(f"{seed}-orders")
        self._batch = batch
        self._windows = itertools.cycle(windows)
        self._concurrency = concurrency

    @property
    def orders(self) -> list[Wanted]:
        return [order for file in self.files for order in file.orders]

    @property
    def outcomes(self) -> Counter[str]:
        """As the last import of each file reported them."""
        last = [file.counts[-1] for file in self.files if file.counts]
        return Counter({name: sum(counts[name] for counts in last) for name in (*FINAL, *NOT_FINAL, "invalid")})

    def settle(self) -> None:
        """Imports every file again until all of its orders are final: an order that is not by then is lost."""
        for file in self.files:
            for _ in range(SETTLE_ROUNDS_MAX):
                self._import(file)
                if file.is_settled:
                    break
            else:
                self.faults.append(f"{file.path.name} does not settle: {file.counts[-1:]}")
            self.faults += _contradictions(file)
        self.note_final_states()

    def note_final_states(self) -> None:
        """Writes down what `order list` shows; nothing while the read model is away."""
        for status in FINAL:
            listed = self._shardwise.inside("order", "list", "--status", status, "--limit", str(LISTED))
            if listed.exit_code != 0:
                continue
            for order in listed.document["orders"]:
                before = self.reported.setdefault(order["order_id"], status)
                if before != status:
                    self.faults.append(f"{order['order_id']} was reported as {before}, and later {status}")

    def work(self) -> None:
        while self.wanted:
            name = f"{self._name}-{len(self.files)}"
            path = self._folder / f"{name}.jsonl"
            orders = write_orders(path, self._chance, name, self._batch)
            file = File(path, orders, next(self._windows))
            self.files.append(file)
            self._import(file)

    def _import(self, file: File) -> None:
        """An import that found nothing to start with, no map or no Temporal, exits with an error and is repeated."""
        command = ("import", "orders", str(file.path), "--concurrency", str(self._concurrency))
        answer = self._shardwise(*command, cancellation_window_seconds=str(file.window_seconds))
        if "total" in answer.document:
            file.counts.append(answer.document)
        elif answer.exit_code != 3:
            self.faults.append(f"{file.path.name}: exit {answer.exit_code}: {answer.stdout}{answer.stderr[-500:]}")


def _contradictions(file: File) -> list[str]:
    """An order reported as final stays final, so the counts of final orders only grow."""
    faults = []
    for earlier, later in zip(file.counts, file.counts[1:], strict=False):
        shrunk = [name for name in FINAL if later[name] < earlier[name]]
        if shrunk:
            faults.append(
                f"{file.path.name}: fewer orders are {', '.join(shrunk)} than before: {earlier}, then {later}"
            )
    return faults
