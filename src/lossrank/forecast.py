"""What the next labels are expected to bring: a saturating power law through the learning curve so far.

error(n) = c + a * n ** -b (Cortes et al. 1993; Hestness et al. 2017) is fitted on a grid of b, for each of which c and
a follow by weighted least squares with later points heavier. The interval is wider than the fit's own residuals say:
a curve of few points leaves the exponent open, so every exponent counts by how well it fits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lossrank.errors import ConfigError
from lossrank.statistics import NORMAL_80

__all__ = ["LEAST", "LEVEL", "forecast"]

LEAST = 4
"""Points of a curve below which nothing can be said: three leave no residual, and 27 % of their intervals held."""
LEVEL = 0.80
"""Of the interval: the share of forecasts that should hold."""
EXPONENTS = np.linspace(0.05, 2.0, 40)
DRAWS = 4000
GOLDEN = 0.6180339887498949
MODEL_NOISE = 0.12
"""Noise of a model's gain in shares of what is left to gain: at 0.10 and 0.15, 75 % and 85 % of 20 gains on digits were
within the interval."""
TWO_POINTS = 1.2
"""Noise of a difference in noises of one point. Independent ones would have 1.41, but weights that go on from round to
round share theirs: 91 % of the intervals held then over 116 recorded steps, with 1.2 it is 86 %."""


def forecast(
    labels: Sequence[int],
    metric: Sequence[float],
    next_labels: int,
    higher_is_better: bool = True,
    bound: float | None = None,
    intervals: Sequence[Sequence[float]] | None = None,
) -> tuple[float, float, float]:
    """How much the metric gains with the next labels: (expected gain, low, high), an 80 % interval.

    A gain is positive where the metric gets better, whichever direction that is. Deterministic.

    Args:
        labels: numbers of labels so far, ascending.
        metric: what was reached with each.
        next_labels: how many labels are added to the last number.
        higher_is_better: the direction of the metric.
        bound: the best value there can be, 1.0 for an accuracy; None where there is none.
        intervals: the 80 % interval of each value where it was measured on few samples, see `_through_noise`; the gain
            is then that of the model, not of the next measurement.

    Raises:
        ConfigError: fewer than four points, labels that do not ascend, a value that is not finite.
    """
    x, error = _checked(labels, metric, next_labels, higher_is_better)
    floor = None if bound is None else (-bound if higher_is_better else bound)
    if intervals is not None:
        ends = np.asarray(intervals, dtype=np.float64)
        return _through_noise(x, next_labels, floor, -ends if higher_is_better else ends)
    at = np.append(x, x[-1] + next_labels)
    curves, weights, noise = _fits(x, error, at, floor)
    gains = curves[:, -2] - curves[:, -1]
    expected = float(weights @ gains)
    low, high = _interval(gains, weights, noise, max(1, len(x) - 3))
    last = float(error[-1])
    most = math.inf if floor is None else max(0.0, last - floor)
    return min(expected, most), min(low, most), min(high, most)


def _through_noise(
    x: NDArray[np.float64], next_labels: int, floor: float | None, ends: NDArray[np.float64]
) -> tuple[float, float, float]:
    """The gain of the curve through the middles of intervals [points, 2], each counting by its precision.

    Of each exponent the slope is normal about its least-squares value, cut at 0 (labels do no harm) and where the curve
    would pass the best there can be. Successive rounds are measured in part on the same samples; their errors are taken
    as independent, which makes a slope less certain than it is. Models of successive rounds differ by more than the
    curve: `MODEL_NOISE` stands for that.
    """
    from scipy.special import ndtr, ndtri

    error = ends.mean(1)
    precision = (2 * NORMAL_80 / np.maximum(np.ptp(ends, 1), 1e-9)) ** 2
    share = (np.arange(DRAWS) + 0.5) / DRAWS
    left = float(error[-1]) - (floor or 0.0)
    seen = MODEL_NOISE * abs(left) * ndtri(np.clip((share * DRAWS * GOLDEN) % 1.0, 1e-6, 1 - 1e-6))
    gains, evidence = [], []
    for exponent in EXPONENTS:
        basis = (x / x[0]) ** -exponent
        offset, slope = _line(basis, error, precision / precision.sum())
        centre = float(precision @ basis / precision.sum())
        spread = 1 / math.sqrt(float(precision @ (basis - centre) ** 2))
        misfit = float(precision @ (offset + slope * basis - error) ** 2)
        most = math.inf if floor is None else max(0.0, (offset + slope * centre - floor) / centre)
        low, high = float(ndtr(-slope / spread)), float(ndtr((most - slope) / spread))
        drawn = slope + spread * ndtri(np.clip(low + (high - low) * share, 1e-12, 1 - 1e-12))
        fall = float(basis[-1] - ((x[-1] + next_labels) / x[0]) ** -exponent)
        gains.append(np.clip(drawn, 0, most) * fall + seen)
        evidence.append(math.log(spread * max(high - low, 1e-12)) - misfit / 2)
    counts = np.exp(np.asarray(evidence) - max(evidence))
    weights = np.repeat(counts / counts.sum() / DRAWS, DRAWS)
    pooled = np.concatenate(gains)
    order = np.argsort(pooled)
    tail = (1 - LEVEL) / 2
    found = np.interp([tail, 1 - tail], np.cumsum(weights[order]), pooled[order])
    return float(weights @ pooled), float(found[0]), float(found[1])


def _checked(
    labels: Sequence[int], metric: Sequence[float], next_labels: int, higher_is_better: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(labels) != len(metric):
        raise ConfigError(f"{len(labels)} numbers of labels and {len(metric)} values of the metric; one each is needed")
    if len(labels) < LEAST:
        raise ConfigError(f"a forecast needs {LEAST} points of the learning curve or more; there are {len(labels)}")
    if next_labels < 1:
        raise ConfigError(f"next_labels must be an integer >= 1, got {next_labels!r}")
    x, y = np.asarray(labels, dtype=np.float64), np.asarray(metric, dtype=np.float64)
    if x[0] < 1 or (np.diff(x) <= 0).any() or not np.isfinite(y).all():
        raise ConfigError("a learning curve has ascending numbers of labels, from 1 on, and finite values")
    return x, -y if higher_is_better else y


def _fits(
    x: NDArray[np.float64], error: NDArray[np.float64], at: NDArray[np.float64], floor: float | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """One curve for each exponent [exponents, points], how much each counts (sum 1), and the noise of one point."""
    heavy = x / x.sum()
    curves, misfits = [], []
    for exponent in EXPONENTS:
        basis = (x / x[0]) ** -exponent
        offset, slope = _line(basis, error, heavy)
        if slope < 0:  # a curve that gets worse with labels is noise: flat is the nearest there is
            offset, slope = float(heavy @ error), 0.0
        elif floor is not None and offset < floor:
            offset, slope = floor, max(0.0, float(heavy @ (basis * (error - floor)) / (heavy @ basis**2)))
        curves.append(offset + slope * (at / x[0]) ** -exponent)
        misfits.append(float(heavy @ (curves[-1][:-1] - error) ** 2))
    degrees = max(1, len(x) - 3)
    misfit = np.maximum(misfits, 1e-18)
    spread = misfit.min() * len(x) / degrees
    weights = np.exp(-0.5 * (misfit - misfit.min()) * len(x) / spread)
    return np.stack(curves), weights / weights.sum(), math.sqrt(spread)


def _line(basis: NDArray[np.float64], error: NDArray[np.float64], heavy: NDArray[np.float64]) -> tuple[float, float]:
    centre, middle = float(heavy @ basis), float(heavy @ error)
    slope = float(heavy @ ((basis - centre) * (error - middle)) / (heavy @ (basis - centre) ** 2))
    return middle - slope * centre, slope


def _interval(
    gains: NDArray[np.float64], weights: NDArray[np.float64], noise: float, degrees: int
) -> tuple[float, float]:
    """Quantiles of the gain that will be seen: exponents by weight, and the noise of the two points between."""
    from scipy.special import stdtrit

    share = (np.arange(DRAWS) + 0.5) / DRAWS
    drawn = np.interp(share, np.cumsum(weights) - weights / 2, gains)
    turned = (share * DRAWS * GOLDEN) % 1.0  # a low-discrepancy partner: no randomness, no correlation
    seen = drawn + TWO_POINTS * noise * stdtrit(degrees, np.clip(turned, 1e-6, 1 - 1e-6))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(seen, [tail, 1 - tail])
    return float(low), float(high)
