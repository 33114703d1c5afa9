"""Records a history while concurrent clients of one event loop make it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from tests.histories.operations import History, Kind, Level, Operation, Outcome

SETUP = "setup"


class NoOutcome(Exception):
    """A client left an operation without saying how it ended: the client's program is wrong."""


@dataclass
class Call:
    """An operation that was invoked. One of `ok`, `fail` and `unknown` ends it, once."""

    recorder: Recorder
    number: int
    client: str
    session: str
    kind: Kind
    key: str
    shard: str
    level: Level | None
    token: str | None
    invoked: int
    ended: Operation | None = field(default=None, init=False)

    def ok(self, version: int, server: str, token: str | None = None) -> None:
        """`version` is what the read returned (0: no row) or what the write made; `token` is the session's
        afterwards."""
        self._end(Outcome.OK, version=version, server=server, token_after=token)

    def fail(self, detail: str = "") -> None:
        """It had no effect and never will. Where that is not certain, the outcome of a write is unknown."""
        self._end(Outcome.FAIL, detail=detail)

    def unknown(self, detail: str = "") -> None:
        self._end(Outcome.UNKNOWN, detail=detail)

    def so_far(self) -> Operation:
        """What was returned, or that nothing was yet."""
        return self.ended or self._operation(Outcome.UNKNOWN, returned=None)

    def _end(
        self,
        outcome: Outcome,
        *,
        version: int | None = None,
        server: str | None = None,
        token_after: str | None = None,
        detail: str = "",
    ) -> None:
        if self.ended is not None:
            raise NoOutcome(f"it has ended already: {self.ended}")
        self.ended = self._operation(
            outcome,
            returned=self.recorder.now(),
            version=version,
            server=server,
            token_after=token_after,
            detail=detail,
        )

    def _operation(
        self,
        outcome: Outcome,
        *,
        returned: int | None,
        version: int | None = None,
        server: str | None = None,
        token_after: str | None = None,
        detail: str = "",
    ) -> Operation:
        return Operation(
            number=self.number,
            client=self.client,
            session=self.session,
            kind=self.kind,
            key=self.key,
            shard=self.shard,
            level=self.level,
            invoked=self.invoked,
            returned=returned,
            outcome=outcome,
            version=version,
            server=server,
            token_before=self.token,
            token_after=token_after,
            detail=detail,
        )


class Recorder:
    """One for a run. A session that got `session_lost` goes on under a new name: its promises ended.

        with recorder.write("c1", "s1", "product/SKU-1", "shard-1", token=session.token) as call:
            renamed = await products.rename(...)
            call.ok(renamed.version, server="shard-1", token=session.token)

    What is raised in the block, a cancel too, ends the operation and goes on: a write's outcome is then unknown, and a
    read has failed, since reads have no effect.
    """

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._last = 0
        self._at_rest_from: int | None = None

    def __len__(self) -> int:
        """How many operations were invoked so far."""
        return len(self._calls)

    def now(self) -> int:
        """Nanoseconds of the monotonic clock, and no moment twice: what follows in this process is later."""
        self._last = max(time.monotonic_ns(), self._last + 1)
        return self._last

    def read(
        self, client: str, session: str, key: str, shard: str, level: Level, token: str | None = None
    ) -> AbstractContextManager[Call]:
        return self._recording(client, session, Kind.READ, key, shard, level, token)

    def write(
        self, client: str, session: str, key: str, shard: str, token: str | None = None
    ) -> AbstractContextManager[Call]:
        return self._recording(client, session, Kind.WRITE, key, shard, None, token)

    def invoke(
        self,
        client: str,
        session: str,
        kind: Kind,
        key: str,
        shard: str,
        level: Level | None = None,
        token: str | None = None,
    ) -> Call:
        """For clients that end the call themselves; one that never does has an unknown outcome."""
        call = Call(self, len(self._calls), client, session, kind, key, shard, level, token, self.now())
        self._calls.append(call)
        return call

    def exists(self, key: str, shard: str, version: int) -> None:
        """A row that was there before the run, at this version: as if it had been written so often until now."""
        for each in range(1, version + 1):
            self.invoke(SETUP, SETUP, Kind.WRITE, key, shard).ok(each, shard)

    def rest(self) -> None:
        """From now on nothing writes, and every server is healed and has caught up. Reads now judge convergence, so
        read every row on every server."""
        self._at_rest_from = self.now()

    def history(self, *, others_write: bool = False) -> History:
        return History([call.so_far() for call in self._calls], self._at_rest_from, others_write)

    @contextmanager
    def _recording(
        self, client: str, session: str, kind: Kind, key: str, shard: str, level: Level | None, token: str | None
    ) -> Iterator[Call]:
        call = self.invoke(client, session, kind, key, shard, level, token)
        try:
            yield call
        except BaseException as error:
            if call.ended is None:
                detail = f"{type(error).__name__}: {error}"
                call.fail(detail) if kind is Kind.READ else call.unknown(detail)
            raise
        if call.ended is None:
            raise NoOutcome(f"{call.so_far()} was left without an outcome")
