"""Copies aggregates from one shard to one version of the read model: all at once or, if that fails, split until the one
aggregate at fault is isolated, which is then reported as unfit.

An error about the rows themselves, raised by either server or by our own code, is the fault of an aggregate. A server
that is away, a timeout, a deadlock or a full disk is not: such an error is raised, and nothing was done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.events import Aggregate
from shards.connections.database_errors import blames_the_data, translated
from shards.projection.reading import Documents, Lines, Unfit, read_documents
from shards.projection.writing import write_documents, write_lines
from shards.tables.versions import Version

READ_MODEL = "the read model"


@dataclass(frozen=True, slots=True)
class Copier:
    """`to`: the transaction on the read model, which has locked the shard's cursor of that version."""

    to: AsyncConnection
    version: Version
    shard: str

    async def write(self, aggregate: Aggregate, documents: Documents) -> None:
        """Writes all of it, or raises an error after which the transaction cannot go on."""
        if documents.rows is not None:
            await write_documents(self.to, self.version, self.shard, aggregate, documents.rows)
        if documents.lines is not None:
            await write_lines(self.to, self.version, documents.lines)

    async def copy(
        self, snapshot: AsyncConnection, aggregate: Aggregate, versions: Mapping[str, int], lines: Lines | None
    ) -> list[Unfit]:
        """Reads and writes these aggregates. Returns those that cannot be projected; all others are written.

        A set that fails is halved until one aggregate is left, so a few bad ones among many cost only a few more
        statements.
        """
        server = self.shard
        try:
            async with self.to.begin_nested(), snapshot.begin_nested():
                documents = await read_documents(snapshot, aggregate, versions, lines)
                server = READ_MODEL
                await self.write(aggregate, documents)
                return documents.unfit
        except Exception as error:
            if not blames_the_data(error):
                raise
            if len(versions) == 1:
                [(key, version)] = versions.items()
                return [Unfit(aggregate, key, version, _reason(error, server))]
        unfit = []
        for half in _halves(list(versions.items())):
            unfit += await self.copy(snapshot, aggregate, dict(half), lines)
        return unfit

    async def write_lines_isolated(self, lines: list[Any]) -> list[Unfit]:
        """Like `copy`, for lines that were read already. Returns the accounts of lines that cannot be written."""
        try:
            async with self.to.begin_nested():
                await write_lines(self.to, self.version, json.dumps(lines))
                return []
        except Exception as error:
            if not blames_the_data(error):
                raise
            if len(lines) == 1:
                return [Unfit(Aggregate.ACCOUNT, lines[0]["account_id"], 0, _reason(error, READ_MODEL))]
        unfit = []
        for half in _halves(lines):
            unfit += await self.write_lines_isolated(half)
        return unfit


def _halves(items: list[Any]) -> tuple[list[Any], list[Any]]:
    middle = len(items) // 2
    return items[:middle], items[middle:]


def _reason(error: Exception, server: str) -> str:
    if isinstance(error, DBAPIError):
        return f"{server} refuses it: {translated(error).message}"
    return f"it cannot be projected: {type(error).__name__}: {error}"
