"""The interval of a metric, from the samples that it was measured on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lossrank.statistics import NORMAL_80
from lossrank.tasks.base import Metric, Task

__all__ = ["FEWEST", "LEVEL", "Interval", "Jackknife", "interval_of_mean", "interval_of_share"]

LEVEL = 0.8
FEWEST = 5
"""Samples below which there is no interval: of four right answers of four it would be most of what is possible."""
GROUPS = 50  # of samples, of which each is left out once


@dataclass(frozen=True)
class Interval:
    """A measured value with the 80 % interval of what it estimates."""

    value: float
    low: float
    high: float
    samples: int


class Jackknife:
    """Measures a task's metric once on all samples and once without each of up to 50 groups of them.

    Of a share of right answers the interval is Jeffreys' (Brown, Cai and DasGupta 2001). Of any other metric the
    standard error is that of the delete-a-group jackknife, with Student's t of as many groups less one (Shao and Tu
    1995); up to 50 samples each is a group.
    """

    def __init__(self, task: Task) -> None:
        self.metric = task.metric()
        self.samples = 0
        self._without = [] if self.metric.is_share else [task.metric() for _ in range(GROUPS)]

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in one batch."""
        self.metric.update(outputs, targets)
        group = (self.samples + torch.arange(len(targets), device=targets.device)) % GROUPS
        self.samples += len(targets)
        for number, metric in enumerate(self._without):
            kept = group != number
            if kept.any():
                metric.update(outputs[kept], targets[kept])

    def interval(self) -> Interval | None:
        """None below `FEWEST` samples, where the value does not exist, and where samples do not vary."""
        value, n = self.metric.compute(), self.samples
        if n < FEWEST or not math.isfinite(value):
            return None
        if self.metric.is_share:
            return Interval(value, *interval_of_share(value, n), n)
        found = [metric.compute() for metric in self._without[:n]]
        mean, groups = sum(found) / len(found), len(found)
        error = math.sqrt((groups - 1) / groups * sum((one - mean) ** 2 for one in found))
        ends = interval_of_mean(self.metric, value, error, n, groups)
        return ends and Interval(value, *ends, n)


def interval_of_share(value: float, samples: float) -> tuple[float, float]:
    """Jeffreys' interval of a share that was found in so many samples; they need not be a whole number."""
    from scipy.special import betaincinv

    tail, right = (1 - LEVEL) / 2, value * samples
    wrong = samples - right
    low = 0.0 if right <= 0 else float(betaincinv(right + 0.5, wrong + 0.5, tail))
    high = 1.0 if wrong <= 0 else float(betaincinv(right + 0.5, wrong + 0.5, 1 - tail))
    return min(low, value), max(high, value)


def interval_of_mean(
    metric: Metric, value: float, error: float, samples: int, groups: int
) -> tuple[float, float] | None:
    """From a standard error; None where there is none.

    A share of parts of samples (joints) has the interval of as many samples as would have this error (Korn and Graubard
    1998); an error that is above 0 is taken on a logarithmic scale, because few errors are skewed to the right.
    """
    from scipy.special import stdtrit

    t = float(stdtrit(groups - 1, (1 + LEVEL) / 2))
    if metric.unit == "%" and 0 <= value <= 1:
        varies = error > 0 and 0 < value < 1
        alike = value * (1 - value) / error**2 * (NORMAL_80 / t) ** 2 if varies else float(samples)
        return interval_of_share(value, alike)
    if not math.isfinite(error) or error == 0:
        return None
    if not metric.higher_is_better and value > 0:
        factor = math.exp(t * error / value)
        return value / factor, value * factor
    return value - t * error, value + t * error
