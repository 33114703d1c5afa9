"""Which statements a process sends to its shards, and when: for measuring a protocol, not for running one.

They are counted where they leave: SQLAlchemy's cursor events show the statements, the driver's own log the BEGIN and
COMMIT that it adds. Each is one round trip. A text that is new to its connection costs one more: it is parsed first.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import event

from shards.connections.cluster import Cluster
from shards.connections.database import Database

_CONNECTION = "shardwise_connection"
_BEGAN = "shardwise_began"
_PARSED = "shardwise_parsed"

# What the driver adds by itself around the statements of a transaction.
_CONTROL = re.compile(r"(BEGIN|COMMIT|ROLLBACK)\b")
_COMMITS = re.compile(r"COMMIT\b|PREPARE TRANSACTION\b")
_ENDS_PREPARED = re.compile(r"(?:COMMIT|ROLLBACK) PREPARED '(?P<gid>.+)'")
_PREPARES = re.compile(r"PREPARE TRANSACTION '(?P<gid>.+)'")
# Locks that make every other debit and credit of the account wait. Foreign keys take a weaker one.
_LOCKS_ACCOUNT = re.compile(r"\bUPDATE account SET\b|\bFROM account\b.*\bFOR NO KEY UPDATE\b", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Sent:
    """One statement. `began` and `ended`: seconds of `time.perf_counter`."""

    shard: str
    connection: int
    sql: str
    began: float
    ended: float
    round_trips: int = 1


@dataclass(frozen=True, slots=True)
class Held:
    """How long account rows of one shard were locked: from the reply to the locking statement to the reply to the
    statement that released the lock."""

    shard: str
    seconds: float


class Trace:
    """`sent`: every statement that a cluster's shards are sent, oldest first."""

    def __init__(self, cluster: Cluster) -> None:
        """To be made before the cluster is used: connections that are open already are not traced."""
        self.sent: list[Sent] = []
        self._numbers = itertools.count(1)
        for shard in cluster.shards.values():
            self._listen(shard.primary)
            self._listen(shard.phase_two)

    def _listen(self, database: Database) -> None:
        event.listen(database.events, "connect", partial(self._connected, database.name))
        event.listen(database.events, "before_cursor_execute", _note_time)
        event.listen(database.events, "after_cursor_execute", partial(self._executed, database.name))

    def _connected(self, shard: str, connection: Any, record: Any) -> None:
        number = record.info[_CONNECTION] = next(self._numbers)
        record.info[_PARSED] = set()
        connection.driver_connection.add_query_logger(partial(self._logged, shard, number))

    def _executed(self, shard: str, connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        info, parsed = connection.info, connection.info[_PARSED]
        trips = 1 if sql in parsed else 2
        parsed.add(sql)
        self.sent.append(Sent(shard, info[_CONNECTION], sql.strip(), info[_BEGAN], time.perf_counter(), trips))

    def _logged(self, shard: str, number: int, query: Any) -> None:
        if _CONTROL.match(query.query):
            ended = time.perf_counter()
            self.sent.append(Sent(shard, number, query.query, ended - query.elapsed, ended))


def _note_time(connection: Any, *_: Any) -> None:
    connection.info[_BEGAN] = time.perf_counter()


def round_trips(sent: Iterable[Sent]) -> int:
    return sum(each.round_trips for each in sent)


def commits(sent: Iterable[Sent]) -> int:
    """COMMIT, PREPARE TRANSACTION and COMMIT PREPARED: each returns when it is on disk."""
    return sum(_COMMITS.match(each.sql) is not None for each in sent)


def locks_held(sent: Iterable[Sent]) -> list[Held]:
    """One for each transaction that locked account rows; one in doubt kept its locks until it was ended."""
    open_since: dict[tuple[str, int], float] = {}
    in_doubt_since: dict[str, float] = {}
    held: list[Held] = []
    for each in sorted(sent, key=lambda one: one.ended):
        transaction = (each.shard, each.connection)
        if prepared := _PREPARES.match(each.sql):
            if transaction in open_since:
                in_doubt_since[prepared["gid"]] = open_since.pop(transaction)
        elif ended := _ENDS_PREPARED.match(each.sql):
            if ended["gid"] in in_doubt_since:
                held.append(Held(each.shard, each.ended - in_doubt_since.pop(ended["gid"])))
        elif _CONTROL.match(each.sql):
            if transaction in open_since:
                held.append(Held(each.shard, each.ended - open_since.pop(transaction)))
        elif _LOCKS_ACCOUNT.search(each.sql):
            open_since.setdefault(transaction, each.ended)
    return held
