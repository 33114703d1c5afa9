"""Ends transactions in doubt on all shards: by the coordinator's decision, otherwise by the participants' rows.

Safe while a coordinator is still at work, and beside another sweep: see `shards.transfers.two_phase`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

from sqlalchemy import text

from domain.errors import ShardwiseError, TryAgain, Unreachable
from domain.in_doubt import InDoubt, InDoubtReport, Resolved, Waiting
from domain.sagas import Reason, Refusal
from domain.transfers import Transfer
from domain.two_phase import Coordinator, Participant, ParticipantOutcome, Resolution, parse_gid, resolve
from shards.connections.concurrency import gather_all
from shards.connections.database import Database
from shards.routing.router import Router
from shards.routing.shard_transaction import translating_errors
from shards.transfers import transfer_row, two_phase

FindCoordinator = Callable[[str], Awaitable[Coordinator]]
"""The state of a saga's coordinator, by the saga's id. Raises `Unreachable`."""

# After a server's restart, a pool first hands out dead connections.
ATTEMPTS_MAX = 3

COORDINATOR_LOST = Refusal(Reason.COORDINATOR_LOST, "the coordinator was gone before either participant had committed")

_LIST = text("""
    SELECT gid, CAST(extract(epoch FROM clock_timestamp() - prepared) AS float) AS seconds FROM pg_prepared_xacts
    WHERE database = current_database() AND starts_with(gid, 'shardwise' || chr(58)) ORDER BY prepared, gid
""")
_FIND = text(f"SELECT {transfer_row.COLUMNS} FROM transfer WHERE gid_stem = :stem")


async def in_doubt_on(shards: Iterable[Database]) -> tuple[list[InDoubt], list[str]]:
    """Our prepared transactions, the oldest of each shard first, and the names of the shards that do not answer."""
    queried = list(shards)
    answers = await gather_all(_in_doubt_on(shard) for shard in queried)
    unreachable = [shard.name for shard, found in zip(queried, answers, strict=True) if found is None]
    return [each for found in answers for each in found or []], unreachable


async def _in_doubt_on(shard: Database) -> list[InDoubt] | None:
    try:
        with translating_errors(shard.name):
            async with shard.autocommit() as connection:
                return [InDoubt(row.gid, shard.name, row.seconds) for row in await connection.execute(_LIST)]
    except Unreachable:
        return None


class Sweep:
    """One sweep over all shards. A transaction that cannot be ended now waits for the next sweep and delays no
    other."""

    def __init__(
        self, router: Router, coordinator_of: FindCoordinator, older_than_seconds: float, dry_run: bool = False
    ) -> None:
        """A younger transaction is left to its coordinator. `dry_run` only reports what would be done."""
        self._router = router
        self._coordinator_of = coordinator_of
        self._older_than_seconds = older_than_seconds
        self._dry_run = dry_run
        self._resolved: list[Resolved] = []
        self._waiting: list[Waiting] = []

    async def run(self) -> InDoubtReport:
        """Idempotent. A crash leaves some ended and the others as they were."""
        found, unreachable = await in_doubt_on(self._phase_two())
        by_stem: dict[str, list[InDoubt]] = defaultdict(list)
        for each in found:
            name = parse_gid(each.gid)
            if name is not None:
                by_stem[name.stem].append(each)
            else:
                self._wait([each], "this release does not use such names")
        for stem, group in by_stem.items():
            if max(each.seconds for each in group) < self._older_than_seconds:
                continue
            try:
                await self._resolve(stem, group)
            except ShardwiseError as error:
                self._wait(group, error.message)
        return InDoubtReport(self._resolved, self._waiting, unreachable)

    async def _resolve(self, stem: str, group: Sequence[InDoubt]) -> None:
        """`group`: the transactions in doubt of one transfer."""
        transfer = await self._find(stem)
        if transfer is None:
            await self._roll_back(group)
            return
        coordinator = await self._coordinator_of(transfer.saga_id)
        if coordinator is Coordinator.AT_WORK:
            self._wait(group, f"workflow {transfer.saga_id} is at work on it")
            return
        match resolve(coordinator.decision, [await self._outcome(transfer, each) for each in Participant]):
            case Resolution.WAIT:
                self._wait(group, "it may have been committed on a shard that does not answer")
            case Resolution.COMMIT:
                await self._end(transfer, group, None)
            case Resolution.ABORT:
                await self._end(transfer, group, COORDINATOR_LOST)

    def _phase_two(self) -> list[Database]:
        return [shard.phase_two for shard in self._router.cluster.shards.values()]

    async def _find(self, stem: str) -> Transfer | None:
        """None if no shard has the transfer; raises `Unreachable` if a shard that does not answer might have it."""
        answers = await asyncio.gather(*(_find_on(each, stem) for each in self._phase_two()), return_exceptions=True)
        failures = []
        for answer in answers:
            if isinstance(answer, Transfer):
                return answer
            if isinstance(answer, BaseException):
                failures.append(answer)
        for failure in failures:
            raise failure
        return None

    async def _outcome(self, transfer: Transfer, participant: Participant) -> ParticipantOutcome | None:
        try:
            return (await two_phase.outcome_of(self._router, transfer, participant)).outcome
        except Unreachable:
            return None

    async def _roll_back(self, group: Sequence[InDoubt]) -> None:
        """The transfer's row is written before anything is prepared and never deleted. Without a row there is no
        transfer."""
        for each in group:
            if not self._dry_run:
                await two_phase.end_prepared(self._router, each.shard, each.gid, "ROLLBACK")
            self._resolved.append(Resolved(each.gid, each.shard, None, ParticipantOutcome.UNKNOWN))

    async def _end(self, transfer: Transfer, group: Sequence[InDoubt], refusal: Refusal | None) -> None:
        if self._dry_run:
            outcome = ParticipantOutcome.ABORTED if refusal else ParticipantOutcome.COMMITTED
        else:
            outcome = await self._end_with_retries(transfer, refusal)
        self._resolved += [Resolved(each.gid, each.shard, transfer.saga_id, outcome) for each in group]

    async def _end_with_retries(self, transfer: Transfer, refusal: Refusal | None) -> ParticipantOutcome:
        """Tries several times: the next sweep would find only what is still prepared, and not that a marker is
        missing."""
        for _ in range(ATTEMPTS_MAX - 1):
            with suppress(Unreachable, TryAgain):
                return (await two_phase.end(self._router, transfer, refusal)).outcome
        return (await two_phase.end(self._router, transfer, refusal)).outcome

    def _wait(self, group: Sequence[InDoubt], why: str) -> None:
        self._waiting += [Waiting(each.gid, each.shard, each.seconds, why) for each in group]


async def _find_on(shard: Database, stem: str) -> Transfer | None:
    with translating_errors(shard.name):
        async with shard.autocommit() as connection:
            row = (await connection.execute(_FIND, {"stem": stem})).one_or_none()
    return transfer_row.transfer_of(row).transfer if row is not None else None
