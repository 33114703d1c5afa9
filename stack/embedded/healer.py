"""Ends one partition when its time is up: `python -m stack.embedded.healer DATA_DIR SHARD`.

A process of its own, so that a shard is never cut off for longer than was asked for, whatever becomes of the command.
"""

from __future__ import annotations

import sys
from pathlib import Path

from stack.embedded.partition import heal_when_due

if __name__ == "__main__":
    heal_when_due(Path(sys.argv[1]), sys.argv[2])
