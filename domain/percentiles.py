"""Percentiles of what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], percent: float) -> float:
    """By nearest rank: always a value that was measured. `values` is not empty."""
    return sorted(values)[max(math.ceil(len(values) * percent / 100), 1) - 1]
