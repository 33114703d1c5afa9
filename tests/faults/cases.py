"""The matrix, generated: every declared activity x every fault that applies to it x both modes."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from domain.steps import Step
from tests.faults.declared import DECLARED, ENDINGS, TRANSFERS, Ending, Group, Kind, Mode, group_of
from tests.faults.faults import FAULTS, Fault, Refuses, WorkerDies


@dataclass(frozen=True)
class Case:
    """One order or transfer of this kind, its activities run in this mode, and the fault that hits one of them."""

    activity: Step
    kind: Kind
    fault: Fault
    mode: Mode

    @property
    def name(self) -> str:
        kind = "" if len(DECLARED[self.activity].kinds) == 1 else f" of {self.kind}"
        return f"{self.activity}{kind}: {self.fault.name} [{self.mode}]"

    @property
    def is_of_transfers(self) -> bool:
        return self.kind in TRANSFERS

    @property
    def group(self) -> Group:
        return group_of(self.kind)

    @property
    def endings(self) -> Collection[Ending]:
        return set(self.fault.endings(self.activity, ENDINGS[self.kind]))

    @property
    def may_be_confirmed(self) -> bool:
        return any(ending.is_success for ending in self.endings)


def _generated() -> Iterator[Case]:
    for activity, declared in DECLARED.items():
        for mode in declared.modes:
            for reason in declared.refuses:
                yield Case(activity, declared.kinds[0], Refuses(reason), mode)
            for kind in declared.kinds:
                for fault in FAULTS:
                    possible = fault.kind not in declared.never and type(fault).__name__ not in declared.never
                    if possible and fault.applies_to(activity):
                        yield Case(activity, kind, fault, mode)


def _is_asked_every_time(case: Case) -> bool:
    """Faults that both styles share, deaths of workers too, are tested on orchestrated orders, in both modes."""
    if case.group is not Group.CHOREOGRAPHED:
        return True
    return case.mode == "local_first" and not isinstance(case.fault, WorkerDies)


CASES = {case.name: case for case in _generated()}
"""All of them: `make battery`."""
ASKED_EVERY_TIME = {name: case for name, case in CASES.items() if _is_asked_every_time(case)}
"""Those of them that `make test` runs."""
