"""What each case of the battery that is about a transfer needs: two accounts, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domain.catalogue import Customer
from domain.money import Money
from domain.sagas import Reason
from domain.transfers import ProtocolChoice, Transfer
from shards.catalogue.imports import import_customers
from tests.faults.cases import Case
from tests.faults.declared import TWO_PHASE, Kind
from tests.faults.faults import Refuses
from tests.support.world import World

BALANCE_MINOR, AMOUNT_MINOR = 100_00, 10_00
SOURCES, TARGETS = "shard-1", "shard-3"


@dataclass(frozen=True)
class Payment:
    """What one case's transfer is about; `first` takes its id before it where the case is about that."""

    case: Case
    source: str
    target: str

    @property
    def _refused(self) -> Reason | None:
        fault = self.case.fault
        return fault.reason if isinstance(fault, Refuses) else None

    @property
    def _at_target(self) -> bool:
        """Whether the fault is with the target."""
        return self.case.activity == "admit_transfer"

    @property
    def transfer(self) -> Transfer:
        return Transfer("T", self.source, self.target, Money(AMOUNT_MINOR, "USD"))

    @property
    def first(self) -> Transfer | None:
        if self._refused is not Reason.ID_CONFLICT:
            return None
        return Transfer("T", self.source, self.target, Money(1, "USD"))

    @property
    def protocol(self) -> ProtocolChoice:
        if self._refused is Reason.NOT_LOCAL:
            return ProtocolChoice.LOCAL
        return ProtocolChoice.TWO_PHASE if self.case.kind in TWO_PHASE else ProtocolChoice.SAGA

    @property
    def accounts(self) -> Iterator[Customer]:
        for name, is_target in ((self.source, False), (self.target, True)):
            wrong = self._refused if is_target is self._at_target else None
            if wrong is Reason.UNKNOWN_ACCOUNT:
                continue
            poor = wrong is Reason.INSUFFICIENT_FUNDS or (self.case.kind is Kind.TARGET_VETOED and not is_target)
            currency = "EUR" if wrong is Reason.CURRENCY_MISMATCH else "USD"
            yield Customer(name, name, None, Money(AMOUNT_MINOR - 1 if poor else BALANCE_MINOR, currency))

    @property
    def frozen(self) -> str | None:
        if self.case.kind in (Kind.UNWELCOME, Kind.SOURCE_VETOED):
            return self.target
        if self._refused is Reason.ACCOUNT_NOT_OPEN:
            return self.target if self._at_target else self.source
        return None


async def payments_of(world: World, cases: Sequence[Case]) -> list[Payment]:
    """Sources on one shard, targets on another, except where a case is about a transfer within one."""
    shard_map = await world.router.map()
    names = [f"A{number}" for number in range(12 * len(cases) + 200)]
    on = {s: iter([n for n in names if shard_map.of_account(n).shard == s]) for s in (SOURCES, TARGETS)}
    return [
        Payment(case, next(on[SOURCES]), next(on[SOURCES if case.kind is Kind.LOCAL else TARGETS])) for case in cases
    ]


async def fill(world: World, payments: Sequence[Payment]) -> None:
    await import_customers(world.router, [account for each in payments for account in each.accounts])
    frozen = [each.frozen for each in payments if each.frozen is not None]
    await world.everywhere("UPDATE account SET state = 'frozen' WHERE id = ANY(:ids)", ids=frozen)
