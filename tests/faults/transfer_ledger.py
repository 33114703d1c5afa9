"""What the shards hold of transfers when all is at rest, beside what each case's transfer must have left there."""

from __future__ import annotations

from domain.sagas import Reason
from domain.transfers import TransferState, TransferStatus
from tests.faults.declared import Ending, Kind
from tests.faults.ledger import expect
from tests.faults.saga import WatchedSaga
from tests.faults.transfer_cases import AMOUNT_MINOR, Payment
from tests.support.world import World

_ROWS = "SELECT 'transfer/' || source || '/' || id, state, reason FROM transfer"
PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
_LAST_EVENTS = """
    SELECT DISTINCT ON (saga_id) saga_id, kind FROM outbox WHERE aggregate = 'transfer'
    ORDER BY saga_id, aggregate_version DESC
"""


class TransferLedger:
    """Read once, for all cases."""

    async def read(self, world: World) -> None:
        everywhere = world.everywhere
        self._money = {
            row[0]: row[1:] for row in await everywhere("SELECT id, posted, held FROM account WHERE kind = 'customer'")
        }
        self._rows = {row[0]: row[1:] for row in await everywhere(_ROWS)}
        self._admissions = dict(map(tuple, await everywhere("SELECT saga_id, state FROM admission")))
        self._last_event = dict(map(tuple, await everywhere(_LAST_EVENTS)))
        self._prepared = [row[0] for row in await everywhere(PREPARED)]
        self._legs: dict[str, list[int]] = {}
        for saga_id, amount in await everywhere("SELECT saga_id, amount FROM clearing_leg"):
            self._legs.setdefault(saga_id, []).append(amount)

    def judge(self, saga: WatchedSaga, payment: Payment) -> None:
        """Adds to the saga's faults what its rows have against it."""
        expect(saga, "prepared", [gid for gid in self._prepared if f":{saga.saga_id}:" in gid], [])
        if payment.first is not None:
            return  # The rows are the first transfer's; `verify` has looked at them.
        row = self._rows.get(saga.saga_id)
        ending = _ending(saga, row)
        if ending not in saga.case.endings:
            saga.faults.append(f"ended as {row}, expected one of {sorted(map(str, saga.case.endings))}")
        settled = ending is not None and ending.is_success
        self._judge_money(saga, payment, AMOUNT_MINOR if settled else 0)
        across = settled and saga.case.kind is not Kind.LOCAL
        legs = sorted(self._legs.get(saga.saga_id, []))
        expect(saga, "clearing legs", legs, [-AMOUNT_MINOR, AMOUNT_MINOR] if across else [])
        admission = self._admissions.get(saga.saga_id)
        if across or admission not in (None, "refused", "withdrawn"):
            expect(saga, "admission", admission, "credited" if across else "not open")
        if row is not None:
            expect(saga, "last event", self._last_event.get(saga.saga_id), f"Transfer{row[0].capitalize()}")
        if saga.result is not None and ending is not None:
            result = Ending(saga.result.status, saga.result.refusal.reason if saga.result.refusal else None)
            expect(saga, "the workflow's result", result, ending)

    def _judge_money(self, saga: WatchedSaga, payment: Payment, moved: int) -> None:
        for account in payment.accounts:
            sign = -1 if account.customer_id == payment.source else 1
            expected = (account.opening_balance.minor + sign * moved, 0)
            expect(saga, f"money of {account.customer_id}", self._money.get(account.customer_id), expected)


def _ending(saga: WatchedSaga, row: tuple[str, str | None] | None) -> Ending | None:
    if row is None:  # Refused before anything was begun: only the workflow knows why.
        refusal = saga.result.refusal if saga.result is not None else None
        return Ending(TransferStatus.DECLINED, refusal.reason) if refusal is not None else None
    if row[0] == TransferState.PENDING:
        return None
    status = TransferStatus.SETTLED if row[0] == TransferState.CONFIRMED else TransferStatus.DECLINED
    return Ending(status, Reason(row[1]) if row[1] else None)
