"""A bank with a hundred accounts, and endless transfers between them: always the same ones for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from domain.money import Money
from domain.sagas import Reason
from domain.shard_map import bucket_of, spread_buckets
from domain.transfers import ProtocolChoice, Transfer, TransferStatus
from tests.support.command import Shardwise

CURRENCY = "USD"
FROZEN = ("a17", "a55")
# Half of all transfers touch one of these, so that transfers meet on an account.
HOT = ("a01", "a02", "a03", "a04")

# In cents. The poor are declined for lack of money now and then, the rich never.
OPENING = {f"a{n:02}": 20_00 if n % 10 == 0 else 1_000_000_00 for n in range(100)}
# Opened by `account open`.
OVERDRAFT = {"a90": 50_00}
AMOUNT_MAX = 15_00

POOR = tuple(account for account, cents in OPENING.items() if cents < 100_00)
RICH = tuple(account for account in OPENING if account not in POOR and account not in FROZEN)

SETTLED = str(TransferStatus.SETTLED)
# Why a sound two-phase commit may be declined: a part was killed.
KILLED = frozenset({str(Reason.NO_VOTE), str(Reason.COORDINATOR_LOST)})
_PROTOCOLS = {ProtocolChoice.AUTO: 2, ProtocolChoice.LOCAL: 1, ProtocolChoice.SAGA: 3, ProtocolChoice.TWO_PHASE: 5}

T = TypeVar("T")
Key = tuple[str, str]
"""(source, transfer id)"""


class Way(StrEnum):
    """How a transfer is requested. `OTHERWISE`: once more with other content. `TERMINATED`: somebody terminates its
    workflow, and nobody asks for it again. `RESTARTED`: somebody does, while the first workflow's last attempts may
    still run."""

    ONCE = "once"
    TWICE = "twice at the same time"
    OTHERWISE = "other content"
    TERMINATED = "terminated"
    RESTARTED = "terminated and asked for again"
    COMMAND = "by the command"


_WAYS = {Way.ONCE: 60, Way.TWICE: 10, Way.OTHERWISE: 5, Way.TERMINATED: 10, Way.RESTARTED: 12, Way.COMMAND: 3}


@dataclass(frozen=True)
class Wanted:
    """A transfer as it is requested. `may`: the endings that are right, `settled` or the reason of a decline."""

    transfer: Transfer
    protocol: ProtocolChoice
    way: Way
    may: frozenset[str]

    @property
    def key(self) -> Key:
        return self.transfer.source, self.transfer.transfer_id

    @property
    def minor(self) -> int:
        return self.transfer.amount.minor

    @property
    def otherwise(self) -> Transfer:
        """Other content under the same id."""
        return replace(self.transfer, amount=Money(self.minor + 1, self.transfer.amount.currency))


@dataclass(frozen=True)
class Places:
    """Which account is on which shard."""

    shards: Sequence[str]

    def of(self, account: str) -> str:
        return spread_buckets(list(self.shards))[bucket_of(account)]

    def apart(self, one: str, other: str) -> bool:
        return self.of(one) != self.of(other)


def open_bank(shardwise: Shardwise, folder: Path) -> Places:
    """Accounts by file, one by hand, and the frozen ones frozen."""
    by_file = [account for account in OPENING if account not in OVERDRAFT]
    rows = [f"{account},Customer {account},,{CURRENCY},{_decimal(OPENING[account])}" for account in by_file]
    file = folder / "customers.csv"
    file.write_text("customer_id,name,email,currency,opening_balance\n" + "\n".join(rows) + "\n")
    _done(shardwise, "import", "customers", str(file))
    for account in OVERDRAFT:
        amounts = ("--balance", _decimal(OPENING[account]), "--overdraft", _decimal(OVERDRAFT[account]))
        _done(shardwise, "account", "open", account, "--currency", CURRENCY, *amounts)
    for account in FROZEN:
        _done(shardwise, "account", "freeze", account)
    return Places([shard["name"] for shard in shardwise.inside("status").document["shards"]])


def transfers(seed: str, client: int, places: Places) -> Iterator[Wanted]:
    """One client's, without end. All is drawn here, so that a plan depends on its seed alone and not on how it went."""
    chance = random.Random(f"{seed}-client-{client}")
    number = 0
    while True:
        yield _wanted(chance, f"c{client}-{number}", places)
        number += 1


def _wanted(chance: random.Random, transfer_id: str, places: Places) -> Wanted:
    source, target, currency, may = _accounts(chance)
    protocol = _drawn(chance, _PROTOCOLS)
    way = _drawn(chance, _WAYS)
    if places.apart(source, target):
        if protocol is ProtocolChoice.LOCAL:
            may = frozenset({str(Reason.NOT_LOCAL)})
        elif protocol is ProtocolChoice.TWO_PHASE:
            may |= KILLED
    transfer = Transfer(transfer_id, source, target, Money(chance.randint(1, AMOUNT_MAX), currency))
    return Wanted(transfer, protocol, way, may)


def _accounts(chance: random.Random) -> tuple[str, str, str, frozenset[str]]:
    """Source, target, currency, and how a transfer between them may end."""
    rich, other = chance.sample(HOT if chance.random() < 0.5 else RICH, 2)
    poor, frozen = chance.choice(POOR), chance.choice(FROZEN)
    no_money = frozenset({SETTLED, str(Reason.INSUFFICIENT_FUNDS)})
    not_open, unknown = frozenset({str(Reason.ACCOUNT_NOT_OPEN)}), frozenset({str(Reason.UNKNOWN_ACCOUNT)})
    nobody = f"nobody-{chance.randrange(20)}"
    cases = {
        (rich, other, CURRENCY, frozenset({SETTLED})): 60,
        (rich, poor, CURRENCY, frozenset({SETTLED})): 5,
        (poor, rich, CURRENCY, no_money): 20,
        (rich, frozen, CURRENCY, not_open): 5,
        (frozen, rich, CURRENCY, not_open): 2,
        (rich, nobody, CURRENCY, unknown): 4,
        (nobody, rich, CURRENCY, unknown): 2,
        (rich, other, "EUR", frozenset({str(Reason.CURRENCY_MISMATCH)})): 2,
    }
    return _drawn(chance, cases)


def _drawn(chance: random.Random, weights: Mapping[T, int]) -> T:
    return chance.choices(list(weights), list(weights.values()))[0]


def _done(shardwise: Shardwise, *arguments: str) -> None:
    answer = shardwise.inside(*arguments)
    assert answer.exit_code == 0, answer


def _decimal(cents: int) -> str:
    return Money(cents, CURRENCY).amount
