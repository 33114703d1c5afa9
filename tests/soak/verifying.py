"""`verify` run again and again while orders run: never a violation."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tests.support.command import Shardwise

REST_SECONDS_MAX = 60


@dataclass
class Verifying:
    """`in_flight_max`: the most orders that one run saw in flight; without any, nothing was proved."""

    shardwise: Shardwise
    asked: int = 0
    in_flight_max: int = 0
    faults: list[str] = field(default_factory=list)

    def ask(self, when: str) -> int:
        """Returns how many orders it saw in flight."""
        answer = self.shardwise.inside("verify")
        self.asked += 1
        if answer.exit_code != 0:
            self.faults.append(f"verify {when}: exit {answer.exit_code}: {answer.stdout}{answer.stderr}")
            return 0
        in_flight = int(answer.document["in_flight"]["orders"])
        self.in_flight_max = max(self.in_flight_max, in_flight)
        return in_flight

    def until_at_rest(self) -> None:
        """An order can be decided while its goods and its merchant still wait for a retry."""
        ends = time.monotonic() + REST_SECONDS_MAX
        while self.ask("at rest") > 0:
            if time.monotonic() > ends:
                self.faults.append(f"orders are still in flight after {REST_SECONDS_MAX} s without traffic")
                return
