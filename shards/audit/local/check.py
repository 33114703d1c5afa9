"""Runs the checks within one shard, all in one snapshot."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shards.audit.findings import Findings
from shards.audit.local import prepared
from shards.audit.local.clearing import CLEARING
from shards.audit.local.comments import COMMENTS
from shards.audit.local.event_versions import EVENT_VERSIONS
from shards.audit.local.holds import HOLDS
from shards.audit.local.ledger import LEDGER
from shards.audit.local.orders import ORDERS
from shards.audit.local.orphans import ORPHANS
from shards.audit.local.prepared import prepared_check
from shards.audit.local.rules import LocalCheck
from shards.audit.local.stock import STOCK
from shards.audit.local.transfers import TRANSFERS
from shards.connections.database import Database

_BY_TABLES = (LEDGER, HOLDS, CLEARING, STOCK, ORDERS, TRANSFERS, ORPHANS, COMMENTS, EVENT_VERSIONS)


async def check_shard(shard: Database, findings: Findings, forgotten_after_seconds: int) -> int:
    """Adds all violations. Returns how many prepared transactions are still being decided. Changes nothing."""
    async with shard.snapshot() as connection:
        for local_check in (*_BY_TABLES, prepared_check(forgotten_after_seconds)):
            await _check(local_check, connection, shard.name, findings)
        return await prepared.count_in_flight(connection, forgotten_after_seconds)


async def _check(local_check: LocalCheck, connection: AsyncConnection, shard: str, findings: Findings) -> None:
    checked = (await connection.execute(text(local_check.count))).scalar_one()
    findings.add_checked(local_check.check, int(checked))
    for rule in local_check.rules:
        violations, count = await rule.broken_by(connection, shard)
        findings.add_violations(local_check.check, violations, not_shown=count - len(violations))
