"""What the rows of the bank must be, worked out from the transfers requested and the statuses reported to the clients,
and from nothing that the product computed."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import asyncpg

from domain.identifiers import transfer_saga_id
from domain.sagas import Reason
from domain.transfers import TransferState, TransferStatus
from tests.soak.bank_accounts import OPENING, SETTLED, Key, Wanted
from tests.support.command import Shardwise

_TRANSFERS = "SELECT source, id, state, protocol, reason FROM transfer"
_ADMISSIONS = "SELECT saga_id, state FROM admission"
_BALANCES = "SELECT id, posted, held FROM account WHERE kind = 'customer'"
_ENTRIES = "SELECT coalesce(sum(amount), 0) FROM entry"
_CLEARING = """
    SELECT coalesce(sum(amount), 0) FROM entry WHERE account_id IN (SELECT id FROM account WHERE kind = 'clearing')
"""
_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"


@dataclass(frozen=True)
class Ending:
    """The final status reported to a client. `reason` is None if it is settled."""

    status: str
    reason: str | None = None

    def __str__(self) -> str:
        return self.reason or self.status


@dataclass
class Answers:
    """Every final status that any client got, once: another one of the same transfer is a fault."""

    endings: dict[Key, Ending] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def record(self, key: Key, status: str, reason: str | None) -> None:
        if status == TransferStatus.PENDING:
            return
        ending = Ending(str(status), str(reason) if reason is not None else None)
        before = self.endings.setdefault(key, ending)
        if before != ending:
            self.faults.append(f"{key} was reported as {before}, and later {ending}")


@dataclass(frozen=True)
class Row:
    state: str
    protocol: str
    reason: str | None


@dataclass(frozen=True)
class Rows:
    """All shards together, at rest. Money in cents."""

    transfers: list[tuple[Key, Row]]
    admissions: list[tuple[str, str]]
    """(saga id, state)"""
    balances: dict[str, tuple[int, int]]
    """(posted, held)"""
    entries: dict[str, int]
    """Their sum, by shard."""
    clearing: int
    prepared: list[str]

    @property
    def protocols(self) -> dict[Key, str]:
        return {key: row.protocol for key, row in self.transfers}


def read_rows(shardwise: Shardwise) -> Rows:
    return asyncio.run(_read(shardwise.databases.shards))


async def _read(dsns: Mapping[str, str]) -> Rows:
    rows = Rows([], [], {}, {}, 0, [])
    clearing = 0
    for shard, dsn in dsns.items():
        connection = await asyncpg.connect(dsn)
        try:
            for row in await connection.fetch(_TRANSFERS):
                rows.transfers.append(((row["source"], row["id"]), Row(row["state"], row["protocol"], row["reason"])))
            rows.admissions.extend((row["saga_id"], row["state"]) for row in await connection.fetch(_ADMISSIONS))
            rows.balances.update({row["id"]: (row["posted"], row["held"]) for row in await connection.fetch(_BALANCES)})
            rows.prepared.extend(row["gid"] for row in await connection.fetch(_PREPARED))
            rows.entries[shard] = int(await connection.fetchval(_ENTRIES))
            clearing += int(await connection.fetchval(_CLEARING))
        finally:
            await connection.close()
    return Rows(rows.transfers, rows.admissions, rows.balances, rows.entries, clearing, rows.prepared)


def faults(wanted: Sequence[Wanted], reported: Mapping[Key, Ending], rows: Rows) -> Iterator[str]:
    """Everything in which the rows at rest differ from the transfers requested and the statuses reported."""
    for each in wanted:
        yield from _ending_faults(each, reported.get(each.key))
    yield from _row_faults(wanted, reported, rows)
    yield from _admission_faults(wanted, reported, rows)
    yield from _money_faults([each for each in wanted if str(reported.get(each.key)) == SETTLED], rows)
    if rows.prepared:
        yield f"in doubt at rest: {rows.prepared}"


def _ending_faults(wanted: Wanted, ending: Ending | None) -> Iterator[str]:
    if ending is None:
        yield f"{wanted.key} ({wanted.protocol}, {wanted.way}) never got a final status"
    elif str(ending) not in wanted.may:
        yield f"{wanted.key} ({wanted.protocol}, {wanted.way}) ended as {ending}, not as {sorted(wanted.may)}"


def _row_faults(wanted: Sequence[Wanted], reported: Mapping[Key, Ending], rows: Rows) -> Iterator[str]:
    by_key: dict[Key, list[Row]] = defaultdict(list)
    for key, row in rows.transfers:
        by_key[key].append(row)
    for each in wanted:
        found, ending = by_key.pop(each.key, []), reported.get(each.key)
        begun = ending != Ending(TransferStatus.DECLINED, Reason.NOT_LOCAL)
        if len(found) != begun:
            yield f"{each.key}, reported as {ending}, has {len(found)} rows"
        for row in found:
            state = TransferState.CONFIRMED if str(ending) == SETTLED else TransferState.DECLINED
            if ending is not None and (row.state, row.reason) != (state, ending.reason):
                yield f"{each.key} was reported as {ending}, but its row is {row.state} {row.reason or ''}".rstrip()
    if by_key:
        yield f"nobody asked for {sorted(by_key)[:5]}"


def _admission_faults(wanted: Sequence[Wanted], reported: Mapping[Key, Ending], rows: Rows) -> Iterator[str]:
    """Where the money passed from shard to shard, the target's side says so, once; and nowhere else."""
    states: dict[str, list[str]] = defaultdict(list)
    for saga_id, state in rows.admissions:
        states[saga_id].append(state)
    protocols = rows.protocols
    for each in wanted:
        found = states[transfer_saga_id(*each.key)]
        crossed = str(reported.get(each.key)) == SETTLED and protocols.get(each.key) != "local"
        if crossed and found != ["credited"]:
            yield f"{each.key} was reported as settled, but its admission is {found}"
        elif not crossed and not set(found) <= {"refused", "withdrawn"}:
            yield f"{each.key} did not cross, but its admission is {found}"


def _money_faults(settled: Sequence[Wanted], rows: Rows) -> Iterator[str]:
    there = sum(posted for posted, _ in rows.balances.values())
    if there != sum(OPENING.values()):
        yield f"{sum(OPENING.values())} cents were paid in, now there are {there}"
    for name, cents in (("clearing", rows.clearing), *rows.entries.items()):
        if cents != 0:
            yield f"entries of {name} sum to {cents} cents"
    moved: Counter[str] = Counter()
    for each in settled:
        moved[each.transfer.source] -= each.minor
        moved[each.transfer.target] += each.minor
    for account, paid_in in OPENING.items():
        expected = (paid_in + moved[account], 0)
        if rows.balances.get(account) != expected:
            yield f"account {account} has {rows.balances.get(account)} posted and held, expected {expected}"
    if not_opened := sorted(rows.balances.keys() - OPENING.keys()):
        yield f"nobody opened {not_opened[:5]}"
