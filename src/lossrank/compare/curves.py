"""Figures of learning curves. Pure functions over arrays [..., budgets]; larger is better throughout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lossrank.statistics import bootstrap_weights, percentiles

__all__ = ["Saved", "area", "labels_saved", "labels_to_reach"]


def area(budgets: Sequence[int], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area under the curve [..., budgets] by trapezia over the range of budgets: its mean height. Shape [...].

    With one budget: the value there.
    """
    x = np.asarray(budgets, dtype=np.float64)
    if len(x) == 1:
        return values[..., 0]
    return np.asarray(np.trapezoid(values, x, axis=-1) / (x[-1] - x[0]))


def labels_to_reach(
    budgets: Sequence[int], curves: NDArray[np.float64], target: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Labels at which each curve [..., budgets] first reaches its target [...], straight between measurements.

    Infinite where it never does; the first budget where it begins there or above.
    """
    x = np.asarray(budgets, dtype=np.float64)
    goal = np.broadcast_to(np.asarray(target, dtype=np.float64), curves.shape[:-1])[..., None]
    reached = curves >= goal
    first = reached.argmax(-1)
    before = np.maximum(first - 1, 0)
    high, low = (np.take_along_axis(curves, place[..., None], -1)[..., 0] for place in (first, before))
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(first > 0, (goal[..., 0] - low) / rise, 0.0)
    labels = x[before] + share * (x[first] - x[before])
    return np.where(reached.any(-1), labels, math.inf)


@dataclass(frozen=True)
class Saved:
    """Labels that a strategy needs to reach a target, and how many fewer those are than the baseline's."""

    target: float
    needed: float
    """Infinite: not reached."""
    saved: float
    """Of the mean curves; negative where the baseline needs fewer. -inf: the strategy does not reach the target."""
    low: float
    """Of the 95 % bootstrap interval over seeds; NaN for one seed, as `high` is."""
    high: float


def labels_saved(
    budgets: Sequence[int],
    strategy: NDArray[np.float64],
    baseline: NDArray[np.float64],
    target: float | None = None,
) -> Saved:
    """Labels saved against the baseline, on mean curves; seeds are resampled in pairs.

    Args:
        strategy: [seeds, budgets].
        baseline: [seeds, budgets], the same seeds.
        target: a value to reach; None: the mean that the baseline has at its last budget, drawn anew with each
            resample.
    """

    def saved(weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        ours, theirs = weights @ strategy, weights @ baseline
        goal = theirs[:, -1] if target is None else np.full(len(weights), target)
        needed, spent = labels_to_reach(budgets, ours, goal), labels_to_reach(budgets, theirs, goal)
        with np.errstate(invalid="ignore"):
            difference = np.where(np.isinf(needed) & np.isinf(spent), math.nan, spent - needed)
        return goal, needed, difference

    n = len(strategy)
    goal, needed, difference = (found[0] for found in saved(np.full((1, n), 1 / n)))
    low = high = math.nan
    if n > 1:
        drawn = saved(bootstrap_weights(n))[2]
        if not np.isnan(drawn).any():
            low, high = percentiles(drawn)
    return Saved(float(goal), float(needed), float(difference), low, high)
