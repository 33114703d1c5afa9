"""Concurrent clients of a real installation, each call of which is recorded.

The registers are products. A write gives one another name, which raises its version by one; a read returns the
product's row from a shard or a replica, or the list of all products from the read model.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from domain.catalogue import Product
from domain.errors import Busy, NotAtPoint, SessionLost, ShardwiseError, Unreachable
from domain.money import Money
from shards.reading.served import recording
from shardwise import Shardwise
from shardwise.sessions import Session
from tests.histories.operations import NO_ROW, Kind, Level
from tests.histories.recorder import Call, Recorder

LIST_LIMIT = 1000
# So that a client does not fail as often as it can while a server is away.
PAUSE_AFTER_FAILURE_SECONDS = 0.05
READ_MODEL = "read_model"


@dataclass(frozen=True)
class Row:
    sku: str
    shard: str

    @property
    def key(self) -> str:
        return f"product/{self.sku}"


@dataclass
class Caller:
    """One session, which several clients may use at once. Where it is lost, another one goes on under a new name.
    `unstamped`: how many of those `lost` had outcomes of which nobody knows where they lie."""

    label: str
    session: Session = field(default_factory=Session)
    lost: int = 0
    unstamped: int = 0
    in_use: int = 0

    @property
    def name(self) -> str:
        return f"{self.label}.{self.lost}" if self.lost else self.label

    def is_lost(self, session: Session) -> None:
        # The other clients of this session lose it too, and there is one new session for all.
        if session is self.session:
            self.lost += 1
            self.unstamped += any(point.is_unknown for _, point in session.held.session.wrote)
            self.session = Session()

    def moves(self) -> None:
        """To another process, as its token; not while a client waits for an answer, which the token would lack."""
        if not self.in_use:
            self.session = Session(self.session.token)


@dataclass(frozen=True)
class Mix:
    """How often a client writes, and reads the list; otherwise it reads a row. And at which levels it reads."""

    writes: float = 0.3
    lists: float = 0.15
    moves: float = 0.02
    levels: Sequence[Level] = tuple(Level)


class Client:
    """One operation after the other, chosen by `chance`."""

    def __init__(
        self,
        name: str,
        caller: Caller,
        app: Shardwise,
        recorder: Recorder,
        rows: Sequence[Row],
        chance: random.Random | None = None,
        mix: Mix | None = None,
    ) -> None:
        self.name = name
        self.caller = caller
        self.unexpected: list[str] = []
        self._app = app
        self._recorder = recorder
        self._rows = rows
        self._chance = chance or random.Random(name)
        self._mix = mix or Mix()
        self._numbers = itertools.count(1)

    async def step(self) -> None:
        drawn = self._chance.random()
        row, level = self._chance.choice(self._rows), self._chance.choice(self._mix.levels)
        if self._chance.random() < self._mix.moves:
            self.caller.moves()
        self.caller.in_use += 1
        try:
            if drawn < self._mix.writes:
                is_ok = await self.write(row)
            elif drawn < self._mix.writes + self._mix.lists:
                is_ok = await self.read_list(level)
            else:
                is_ok = await self.read(row, level)
        finally:
            self.caller.in_use -= 1
        if not is_ok:
            await asyncio.sleep(PAUSE_AFTER_FAILURE_SECONDS)

    async def write(self, row: Row) -> bool:
        session, call = self._begin(Kind.WRITE, row)
        name = f"{row.sku} {self.name} {next(self._numbers)}"
        try:
            renamed = await self._app.within(session).catalogue.rename_product(row.sku, name)
        except ShardwiseError as error:
            self._failed(session, [call], error)
            return False
        call.ok(renamed.version, renamed.shard, session.token)
        return True

    async def read(self, row: Row, level: Level) -> bool:
        session, call = self._begin(Kind.READ, row, level)
        try:
            with recording() as served:
                shown = await self._app.within(session).catalogue.product(row.sku, consistency=level.value)
        except ShardwiseError as error:
            self._failed(session, [call], error)
            return False
        call.ok(shown.version, served[-1].server, session.token)
        return True

    async def read_list(self, level: Level) -> bool:
        """A read of each row."""
        session = self.caller.session
        calls = {row.sku: self._begin(Kind.READ, row, level)[1] for row in self._rows}
        try:
            page = await self._app.within(session).queries.products(limit=LIST_LIMIT, consistency=level.value)
        except ShardwiseError as error:
            self._failed(session, list(calls.values()), error)
            return False
        versions = {product.sku: product.version for product in page.products}
        for sku, call in calls.items():
            call.ok(versions.get(sku, NO_ROW), READ_MODEL, session.token)
        return True

    def _begin(self, kind: Kind, row: Row, level: Level | None = None) -> tuple[Session, Call]:
        caller = self.caller
        call = self._recorder.invoke(
            self.name, caller.name, kind, row.key, row.shard, level, token=caller.session.token
        )
        return caller.session, call

    def _failed(self, session: Session, calls: Sequence[Call], error: ShardwiseError) -> None:
        detail = f"{error.code}: {error.message}"
        for call in calls:
            if call.kind is Kind.READ or _had_no_effect(error):
                call.fail(detail)
            else:
                call.unknown(detail)
        if isinstance(error, SessionLost):
            self.caller.is_lost(session)
        elif not isinstance(error, Unreachable | Busy):
            self.unexpected.append(detail)


def _had_no_effect(error: ShardwiseError) -> bool:
    """What a rename says of itself: the row was locked for too long, or there was no connection to ask on."""
    return isinstance(error, Busy | NotAtPoint) or error.code == "product_busy"


async def new_rows(app: Shardwise, recorder: Recorder, prefix: str, count: int) -> list[Row]:
    """At version 1, and the first ones of an installation spread over its shards."""
    skus = [f"{prefix}-{number:02}" for number in range(1, count + 1)]
    await app.catalogue.import_products(Product(sku, sku, Money(100, "EUR"), 0) for sku in skus)
    shown = [await app.catalogue.product(sku, consistency="strong") for sku in skus]
    rows = [Row(each.sku, each.shard) for each in shown]
    for row in rows:
        recorder.exists(row.key, row.shard, 1)
    return rows


async def work(clients: Sequence[Client], goes_on: Callable[[], bool]) -> None:
    """All at once, until it does not go on."""

    async def one(client: Client) -> None:
        while goes_on():
            await client.step()

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(one(client))
