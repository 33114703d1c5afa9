"""Reads transfers for callers outside the sagas: the source's row, and whether the target has the money."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import text

from shards.routing.shard_transaction import ShardTransaction
from shards.transfers.transfer_row import COLUMNS, TransferRow, transfer_of

_READ = text(f"""
    SELECT {COLUMNS} FROM transfer
    WHERE (source, id) IN (SELECT * FROM unnest(CAST(:sources AS text[]), CAST(:ids AS text[])))
""")
_CREDITED = text("SELECT saga_id FROM admission WHERE saga_id = ANY(:saga_ids) AND state = 'credited'")


async def read_transfers(tx: ShardTransaction, keys: Sequence[tuple[str, str]]) -> list[TransferRow]:
    """Those of these (source, id) that have a row on this shard. Changes nothing."""
    rows = await tx.execute(_READ, sources=[source for source, _ in keys], ids=[each for _, each in keys])
    return [transfer_of(row) for row in rows]


async def credited(tx: ShardTransaction, saga_ids: Sequence[str]) -> set[str]:
    """Those of these transfers that were credited to a target on this shard."""
    return set((await tx.execute(_CREDITED, saga_ids=list(saga_ids))).scalars())
