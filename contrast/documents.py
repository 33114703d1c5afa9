"""What a contrast has measured: the document of `--json`, from which the tables and the picture are made."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel

from domain.orders import Style
from domain.sagas import Reason
from domain.transfers import Protocol

PROTOCOLS = (Protocol.LOCAL, Protocol.SAGA, Protocol.TWO_PHASE)


class Place(StrEnum):
    """`spread`: transfers in flight share no account. `hot source`: all of them go out of one account."""

    SPREAD = "spread"
    HOT = "hot source"


class Border(StrEnum):
    """Where a transfer is held back while others are observed."""

    SAGA_IN_CLEARING = "after the capture, before the credit"
    VOTES_IN = "after the last vote, before the first commit"
    HALF_COMMITTED = "after the source's commit, before the target's"

    @property
    def protocol(self) -> Protocol:
        return Protocol.SAGA if self is Border.SAGA_IN_CLEARING else Protocol.TWO_PHASE


class Side(StrEnum):
    SOURCE = "source"
    TARGET = "target"


class Cell(BaseModel):
    """One protocol at one place with `concurrency` transfers at once. Latencies are in milliseconds, from the call to
    its result, declined transfers included; `per_second` counts settled ones only."""

    protocol: Protocol
    place: Place
    concurrency: int
    transfers: int
    settled: int
    declined: dict[Reason, int]
    seconds: float
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Cost(BaseModel):
    """One transfer with nothing else running: medians of `transfers` runs, one after the other.

    `round_trips` between worker and Postgres, BEGIN and COMMIT included. `commits`: each returns when it is on disk,
    prepared ones included. `locked_ms`: the longest time that an account's row was locked; `locked_total_ms`: the sum
    of all such times.
    """

    protocol: Protocol
    transfers: int
    latency_ms: float
    history_events: int
    round_trips: float
    commits: float
    locked_ms: float
    locked_total_ms: float


class StyleCell(BaseModel):
    """Orders of one style, `concurrency` at once, each confirmed. Latencies are in milliseconds, from the call until it
    returns the order's final state."""

    style: Style
    concurrency: int
    orders: int
    seconds: float
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


class StyleCost(BaseModel):
    """One confirmed order over two stock shards with nothing else running. `latency_ms` is a median of `orders` runs.
    The rest is counted for one of them: its workflows, the events of all their histories, and its outbox events."""

    style: Style
    orders: int
    latency_ms: float
    workflows: int
    history_events: int
    outbox_events: int


class Balances(BaseModel):
    """Decimal strings. `missing`: how much less the two accounts have together than before."""

    source: str
    target: str
    missing: str
    read_ms: float


class Writer(BaseModel):
    """Another writer of the paused transfer's account on this side.

    It waited `row_waited_ms` for the row's lock; `row_free` is false if `lock_timeout_ms` ended the wait. Meanwhile an
    ordinary transfer of the same account was sent: whether it settled during the pause, and how long it took in all.
    """

    side: Side
    row_free: bool
    row_waited_ms: float
    lock_timeout_ms: int
    settled_in_pause: bool
    transfer_ms: float


class Server(BaseModel):
    """The server of this side, after transfers between accounts that the paused one does not touch.

    `watermark_moved`: whether readers of the outbox could advance. `hidden_events` are committed and still unreadable.
    `dead_rows_kept` and `horizon_age` (in transactions) are what VACUUM reports for the table of accounts.
    """

    side: Side
    shard: str
    unrelated_transfers: int
    watermark_moved: bool
    hidden_events: int
    dead_rows_kept: int | None
    horizon_age: int | None


class Middle(BaseModel):
    """One transfer of `amount`, held back at `border` for `paused_ms`, and what others observed meanwhile."""

    protocol: Protocol
    border: Border
    amount: str
    currency: str
    paused_ms: float
    before: Balances
    middle: Balances
    after: Balances
    writers: list[Writer]
    servers: list[Server]
    settled: bool


class Machine(BaseModel):
    """The load averages of one minute, before and after, show what else the machine had to do."""

    cpus: int
    system: str
    python: str
    postgres: str
    load_average_before: float
    load_average_after: float


class ContrastDocument(BaseModel):
    """`ok`: every paused transfer settled in the end. `accounts`: how many were opened."""

    ok: bool
    run_id: str
    accounts: int
    shards: list[str]
    machine: Machine
    seconds: float
    cells: list[Cell]
    costs: list[Cost]
    middles: list[Middle]
    style_cells: list[StyleCell]
    style_costs: list[StyleCost]

    def cell(self, protocol: Protocol, place: Place, concurrency: int) -> Cell:
        return next(
            each
            for each in self.cells
            if (each.protocol, each.place, each.concurrency) == (protocol, place, concurrency)
        )

    def cost(self, protocol: Protocol) -> Cost:
        return next(each for each in self.costs if each.protocol is protocol)

    def middle(self, border: Border) -> Middle:
        return next(each for each in self.middles if each.border is border)

    def style_cell(self, style: Style, concurrency: int) -> StyleCell:
        return next(each for each in self.style_cells if (each.style, each.concurrency) == (style, concurrency))

    def style_cost(self, style: Style) -> StyleCost:
        return next(each for each in self.style_costs if each.style is style)

    @property
    def concurrencies(self) -> list[int]:
        return sorted({each.concurrency for each in self.cells})
