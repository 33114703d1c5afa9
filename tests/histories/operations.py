"""What clients asked of the system and what they got, with the times of one monotonic clock: a history.

The versions of rows are the witness. Every write raises its row's version by one, so the versions that clients were
returned say in which order the writes of a row happened: nobody has to search for an order.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

# The version of a row that does not exist. The write that creates a row gives it version 1.
NO_ROW = 0


class Kind(StrEnum):
    READ = "read"
    WRITE = "write"


class Level(StrEnum):
    """What a read was promised. See `scans` for what each one means here."""

    STRONG = "strong"
    READ_YOUR_WRITES = "read-your-writes"
    MONOTONIC = "monotonic"
    EVENTUAL = "eventual"


class Outcome(StrEnum):
    """`FAIL`: it had no effect and never will. `UNKNOWN`: it may have happened, may yet happen, or never will."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation on one row, from its invocation to what its client got.

    `key` names the row on every server (`product/SKU-1`); `shard` is the one that owned it. `version` is what a read
    returned or a write made of the row: there if and only if the outcome is `ok`, `NO_ROW` where a read found none.
    `level` is there for reads. `server` answered: `shard-1`, `shard-1-replica-2`, `read_model`. Tokens are opaque, and
    kept so that a person can follow a violation. `returned` is None where a client never heard again.
    """

    number: int
    client: str
    session: str
    kind: Kind
    key: str
    shard: str
    invoked: int
    outcome: Outcome
    level: Level | None = None
    returned: int | None = None
    version: int | None = None
    server: str | None = None
    token_before: str | None = None
    token_after: str | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        if (self.kind is Kind.READ) != (self.level is not None):
            raise ValueError(f"a read has a level, a write has none: {self}")
        if self.outcome is not Outcome.UNKNOWN and self.returned is None:
            raise ValueError(f"what is ok or has failed has returned: {self}")
        if self.outcome is Outcome.OK:
            if self.version is None:
                raise ValueError(f"what is ok has a version: {self}")
            if self.version < (NO_ROW + 1 if self.is_write else NO_ROW):
                raise ValueError(f"versions begin at 1, reads of no row are 0: {self}")
        elif self.version is not None:
            raise ValueError(f"only what is ok has a version: {self}")
        if self.returned is not None and self.returned < self.invoked:
            raise ValueError(f"returned before it was invoked: {self}")

    def __str__(self) -> str:
        level = f"{self.level} " if self.level else ""
        returned = f"version {self.version}" if self.outcome is Outcome.OK else str(self.outcome)
        server = f" by {self.server}" if self.server else ""
        until = "" if self.returned is None else self.returned
        session = f"{self.session} ({self.client})" if self.client != self.session else self.session
        return (
            f"#{self.number} {level}{self.kind} of {self.key}: {returned}{server}, session {session}, "
            f"from {self.invoked} to {until}"
        )

    @property
    def is_write(self) -> bool:
        return self.kind is Kind.WRITE

    @property
    def is_ok(self) -> bool:
        return self.outcome is Outcome.OK

    @property
    def is_open_write(self) -> bool:
        """May have happened at any time since it was invoked, may happen later, or never."""
        return self.is_write and self.outcome is Outcome.UNKNOWN

    @property
    def returned_version(self) -> int:
        assert self.version is not None
        return self.version

    @property
    def told_at(self) -> int:
        assert self.returned is not None
        return self.returned

    def ended_before(self, other: Operation) -> bool:
        """Real time's order. Both times are of moments inside the operation, so those that touch are concurrent. What
        is unknown never ends."""
        return self.outcome is not Outcome.UNKNOWN and self.returned is not None and self.returned < other.invoked


@dataclass(frozen=True)
class History:
    """Operations, in the order in which they were invoked.

    `at_rest_from`: from then on nothing wrote, everything was healed and had caught up; reads invoked since then judge
    whether all servers converged. `others_write`: the rows are also written by those whose writes are not recorded (the
    later steps of an order), so a version that no recorded write made means nothing.
    """

    operations: Sequence[Operation]
    at_rest_from: int | None = None
    others_write: bool = False

    def __len__(self) -> int:
        return len(self.operations)

    def by_key(self) -> Mapping[str, Sequence[Operation]]:
        return grouped(self.operations, "key")

    def is_at_rest(self, operation: Operation) -> bool:
        return self.at_rest_from is not None and operation.invoked >= self.at_rest_from

    def at_level(self, level: Level) -> History:
        """The same with every read promised this level: was what the servers answered that good?"""
        changed = [each if each.is_write else replace(each, level=level) for each in self.operations]
        return replace(self, operations=changed)

    def text(self) -> str:
        """As JSON, an operation a line, so that a violation's numbers are found by eye. `history_of` reads it."""
        head = json.dumps({"at_rest_from": self.at_rest_from, "others_write": self.others_write})
        lines = (json.dumps(asdict(each)) for each in self.operations)
        return "\n".join([head, *lines]) + "\n"


def history_of(text: str) -> History:
    head, *lines = (json.loads(line) for line in text.splitlines())
    return History([_operation(line) for line in lines], head["at_rest_from"], head["others_write"])


def _operation(fields: dict[str, object]) -> Operation:
    level = fields["level"]
    typed = {
        "kind": Kind(str(fields["kind"])),
        "outcome": Outcome(str(fields["outcome"])),
        "level": None if level is None else Level(str(level)),
    }
    return Operation(**{**fields, **typed})  # type: ignore[arg-type]


def grouped(operations: Iterable[Operation], field: str) -> Mapping[str, Sequence[Operation]]:
    groups: dict[str, list[Operation]] = defaultdict(list)
    for operation in operations:
        groups[getattr(operation, field)].append(operation)
    return groups
