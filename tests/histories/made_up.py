"""Histories written by hand or drawn at random, for the tests of what judges histories."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from hypothesis import strategies as st

from tests.histories.operations import History, Kind, Level, Operation, Outcome

KEY, SHARD = "product/SKU-1", "shard-1"
REPLICA = "shard-1/replica-1"


class Story:
    """A history written down one operation after the other. Each takes the next ten ticks of a clock, if nothing else
    is said."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._at_rest_from: int | None = None

    def write(
        self,
        version: int | None = None,
        session: str = "a",
        outcome: Outcome = Outcome.OK,
        during: tuple[int, int] | None = None,
        key: str = KEY,
    ) -> Operation:
        return self._add(Kind.WRITE, session, outcome, version, None, SHARD, during, key)

    def read(
        self,
        version: int,
        level: Level,
        session: str = "a",
        server: str = SHARD,
        during: tuple[int, int] | None = None,
        key: str = KEY,
    ) -> Operation:
        return self._add(Kind.READ, session, Outcome.OK, version, level, server, during, key)

    def rest(self) -> None:
        self._at_rest_from = self._now()

    def history(self) -> History:
        return History(self.operations, self._at_rest_from)

    def _now(self) -> int:
        return 10 * len(self.operations)

    def _add(
        self,
        kind: Kind,
        session: str,
        outcome: Outcome,
        version: int | None,
        level: Level | None,
        server: str,
        during: tuple[int, int] | None,
        key: str,
    ) -> Operation:
        invoked, returned = during or (self._now(), self._now() + 9)
        operation = Operation(
            number=len(self.operations),
            client=session,
            session=session,
            kind=kind,
            key=key,
            shard=SHARD,
            level=level,
            invoked=invoked,
            returned=None if outcome is Outcome.UNKNOWN else returned,
            outcome=outcome,
            version=version,
            server=server if outcome is Outcome.OK else None,
        )
        self.operations.append(operation)
        return operation


# How far answers lie behind the truth: a read often at a server that lags, both rarely without any sense.
_LAGS = [0] * 20 + [1] * 15 + [2] * 8 + [-1]
_SLIPS = [0] * 30 + [-1, 1]
_OUTCOMES = [Outcome.OK] * 6 + [Outcome.UNKNOWN] * 4 + [Outcome.FAIL]


def small_history(chance: Random) -> History:
    """A few operations on one or two rows, some at once and some without an outcome, at servers of which some lag."""
    moments = sorted(_moment_of(number, chance) for number in range(chance.randint(4, 8)))
    versions: dict[str, int] = {}
    operations = []
    for moment in moments:
        key = chance.choice(["x"] * 8 + ["y"])
        session = chance.choice("aaab")
        versions[key] = versions.get(key, 0) + moment.writes
        version = None
        if moment.outcome is Outcome.OK:
            version = max(versions[key] - chance.choice(_SLIPS if moment.is_write else _LAGS), int(moment.is_write))
        operation = Operation(
            number=moment.number,
            client=session,
            session=session,
            kind=Kind.WRITE if moment.is_write else Kind.READ,
            key=key,
            shard=SHARD,
            level=None if moment.is_write else chance.choice(list(Level)),
            invoked=moment.invoked,
            returned=None if moment.outcome is Outcome.UNKNOWN else moment.returned,
            outcome=moment.outcome,
            version=version,
            server=SHARD,
        )
        operations.append(operation)
    at_rest_from = chance.choice([None, chance.randint(8, 24)])
    return History(sorted(operations, key=lambda each: each.invoked), at_rest_from)


@dataclass(frozen=True, order=True)
class _Moment:
    """When an operation happens, somewhere between its invocation and its return."""

    at: int
    number: int
    invoked: int
    returned: int
    is_write: bool
    outcome: Outcome
    writes: bool


def _moment_of(number: int, chance: Random) -> _Moment:
    invoked = chance.randrange(20)
    returned = invoked + chance.randrange(5)
    is_write = chance.random() < 0.45
    outcome = chance.choice(_OUTCOMES) if is_write else Outcome.OK
    writes = is_write and (outcome is Outcome.OK or (outcome is Outcome.UNKNOWN and chance.random() < 0.5))
    latest = 24 if outcome is Outcome.UNKNOWN else returned
    return _Moment(chance.randint(invoked, latest), number, invoked, returned, is_write, outcome, writes)


# Hypothesis's own draws would repeat themselves for half of a run, and the right histories would be the dull ones.
HISTORIES = st.randoms(use_true_random=True).map(small_history)
