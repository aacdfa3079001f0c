"""The statistics of a small sample: median and an interval that assumes nothing about its distribution.

The interval for the median is that of order statistics (Conover, Practical Nonparametric Statistics, 3.2): it holds the
true median with at least 95 % probability. Below six values no such interval exists and the whole range is given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Sample:
    """Values of one quantity, at least one."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        if not values:
            raise ValueError("a sample needs at least one value")
        return cls(tuple(values))

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper bound of the median."""
        ordered = sorted(self.values)
        skipped = _outside(len(ordered))
        return ordered[skipped], ordered[-1 - skipped]

    def text(self, unit: str = "", digits: int = 2) -> str:
        """`12.30 ms (11.90 to 12.80, n = 15)`."""
        low, high = self.interval
        after = f" {unit}" if unit else ""
        return f"{self.median:.{digits}f}{after} ({low:.{digits}f} to {high:.{digits}f}, n = {len(self.values)})"


def ratio(of: Sequence[float], to: Sequence[float]) -> Sample:
    """The ratios round by round: what slowed the machine down in one round slowed both. Same length, at least one."""
    return Sample.of([one / other for one, other in zip(of, to, strict=True)])


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    z, share = 1.96, hits / total
    centre, spread = share + z * z / (2 * total), z * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2))
    return max(0.0, (centre - spread) / (1 + z * z / total)), min(1.0, (centre + spread) / (1 + z * z / total))


def _outside(count: int) -> int:
    """How many values at each end lie outside the interval: the most for which both tails together stay below 5 %."""
    tail, skipped = 0.0, 0
    while True:
        tail += math.comb(count, skipped) / 2**count
        if 2 * tail > 1 - CONFIDENCE:
            return max(0, skipped - 1) if skipped else 0
        skipped += 1
