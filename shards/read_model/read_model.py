"""The one door to the read model for whoever asks it something."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from shards.connections.database import Database
from shards.routing.shard_transaction import translating_errors

T = TypeVar("T")

Query = Callable[[AsyncConnection], Awaitable[T]]


class ReadModel:
    """Follows the shards with a delay: what was written a moment ago may not be there yet.

    How much delay a caller puts up with is a question for `ask`, and for nobody else.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self, query: Query[T]) -> T:
        """The query's answer. Changes nothing. `Unreachable` with the read model away.

        A query is one statement: between two of them a rebuilt version may have taken the place of the one before.
        """
        with translating_errors(self._database.name):
            async with self._database.transaction() as connection:
                return await query(connection)


def not_in_read_model(code: str, what: str, where_else: str, field: str) -> NotFound:
    """`where_else` asks the shards, which know it already if anybody does."""
    message = f"the read model knows no {what}; it may not have it yet (`{where_else}` asks the shards)"
    return NotFound(code, message, field)
