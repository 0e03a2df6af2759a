"""What a handful of paired seeds allows to say. Pure functions; strategies at one seed share labels and candidates.

The test is the paired t-test over seeds. The exact sign-flip test, which assumes symmetry alone, is told beside it, but
decides nothing: with n seeds its smallest p is 2 ** (1 - n), so that 5 seeds (0.0625) can never reach 5 %.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LEVEL",
    "NORMAL_80",
    "Paired",
    "bootstrap_weights",
    "compared",
    "holm",
    "paired_p",
    "percentiles",
    "sign_flip_p",
]

LEVEL = 0.05
NORMAL_80 = 1.2816
"""Half the width of a normal's 80 % interval, in standard deviations."""
Name = TypeVar("Name", bound=Hashable)


def paired_p(differences: Sequence[float]) -> float:
    """Two-sided p of the paired t-test; 1 where the differences do not vary or there are fewer than two.

    Differences without any spread come from few seeds and a coarse metric: too little to claim a lead on.
    """
    from scipy.special import stdtr

    if len(differences) < 2:
        return 1.0
    spread = statistics.stdev(differences)
    if spread <= 1e-12 * max(1.0, *(abs(d) for d in differences)):
        return 1.0
    t = statistics.fmean(differences) / (spread / math.sqrt(len(differences)))
    return float(2 * stdtr(len(differences) - 1, -abs(t)))


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p of the sign-flip test: the share of all 2 ** n signs whose sum is as far from 0. Exact up to 16."""
    n = len(differences)
    if n == 0:
        return 1.0
    if n > 16:  # 65,536 signs of the first 16 would be a choice; the t-test is exact enough there
        return paired_p(differences)
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
    sums = np.abs(signs @ np.asarray(differences))
    return float((sums >= sums[0] * (1 - 1e-12)).mean())


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Holm's adjusted p (1979): ascending p times those left, never below the one before, at most 1."""
    adjusted: dict[Name, float] = {}
    least = 0.0
    for place, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        least = max(least, min(1.0, p * (len(p_values) - place)))
        adjusted[name] = least
    return adjusted


@dataclass(frozen=True)
class Paired:
    """One strategy against another over the seeds they share."""

    difference: float
    """Mean of first minus second."""
    low: float
    """Of the 95 % t interval of the difference; NaN for one seed, as `high` is."""
    high: float
    p: float
    """Of the paired t-test."""
    sign_flip: float
    adjusted: float = 1.0
    """p after Holm's correction over all the pairs it was tested with."""

    @property
    def told_apart(self) -> bool:
        """Whether the difference may be claimed."""
        return self.adjusted <= LEVEL


def compared(values: Mapping[str, Sequence[float]]) -> dict[tuple[str, str], Paired]:
    """Every pair of strategies, in the order given, with Holm's correction over all of them.

    Args:
        values: of each strategy, one for each seed, in the same order of seeds.
    """
    pairs = {
        (a, b): _paired([x - y for x, y in zip(values[a], values[b], strict=True)])
        for a, b in itertools.combinations(values, 2)
    }
    adjusted = holm({names: pair.p for names, pair in pairs.items()})
    return {
        names: Paired(pair.difference, pair.low, pair.high, pair.p, pair.sign_flip, adjusted[names])
        for names, pair in pairs.items()
    }


def _paired(differences: Sequence[float]) -> Paired:
    from scipy.special import stdtrit

    n, mean = len(differences), statistics.fmean(differences)
    half = math.nan
    if n > 1:
        half = float(stdtrit(n - 1, 0.975)) * statistics.stdev(differences) / math.sqrt(n)
    return Paired(mean, mean - half, mean + half, paired_p(differences), sign_flip_p(differences))


def bootstrap_weights(n: int, seed: int = 0, draws: int = 2000) -> NDArray[np.float64]:
    """How much each of n seeds counts in each resample [draws, n]; rows sum to 1. All n ** n where they are few."""
    if n**n <= draws:
        rows = np.array(list(itertools.product(range(n), repeat=n)))
    else:
        rows = np.random.default_rng(seed).integers(n, size=(draws, n))
    return np.stack([(rows == place).mean(1) for place in range(n)], 1)


def percentiles(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of the values; infinite ones stand at their end."""
    ordered = np.sort(values)
    tail = (1 - level) / 2 * (len(ordered) - 1)
    return float(ordered[math.floor(tail)]), float(ordered[math.ceil(len(ordered) - 1 - tail)])
