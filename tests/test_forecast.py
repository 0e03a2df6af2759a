"""What the next labels bring: on curves whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import stdtrit

from lossrank.errors import ConfigError
from lossrank.forecast import forecast

LABELS = [100, 200, 300, 400, 500, 600]


def test_a_power_law_without_noise_is_continued() -> None:
    curve = [0.95 - 3.0 * n**-0.5 for n in LABELS]
    gain, low, high = forecast(LABELS, curve, 100, bound=1.0)
    assert gain == pytest.approx(3.0 * (600**-0.5 - 700**-0.5), rel=0.02)  # .0091
    assert low <= gain <= high


def test_an_error_that_falls_is_a_gain() -> None:
    errors = [10 * n**-0.5 for n in LABELS]
    up = forecast(LABELS, [-e for e in errors], 100)
    assert forecast(LABELS, errors, 100, higher_is_better=False) == pytest.approx(up)
    assert up[0] > 0


def test_no_gain_goes_beyond_the_bound() -> None:
    gain, _, high = forecast([10, 20, 30, 40], [0.5, 0.75, 0.9, 0.999], 1000, bound=1.0)
    assert gain <= high <= 0.001 + 1e-12


def test_a_curve_that_falls_is_expected_to_stay() -> None:
    gain, low, high = forecast(LABELS, [0.9, 0.89, 0.9, 0.88, 0.89, 0.88], 100)
    assert gain == pytest.approx(0.0)
    assert low < 0 < high


def test_the_interval_of_a_curve_without_a_slope_is_that_of_its_noise() -> None:
    """Every fit is flat at the weighted mean, so all that is left is the noise of the step between two points: 1.2
    times that of one point, and 80 % of Student's t with 6 - 3 degrees of freedom."""
    accuracy = np.array([0.9, 0.89, 0.9, 0.88, 0.89, 0.88])
    weights = np.array(LABELS) / sum(LABELS)
    noise = np.sqrt(weights @ (accuracy - weights @ accuracy) ** 2 * 6 / 3)
    gain, low, high = forecast(LABELS, accuracy.tolist(), 100)
    assert gain == pytest.approx(0.0, abs=1e-9)
    assert high == pytest.approx(1.2 * noise * stdtrit(3, 0.9), rel=0.01)
    assert low == pytest.approx(-high, rel=0.01)


@pytest.mark.parametrize("noise", [0.003, 0.01])
def test_eight_of_ten_intervals_hold_on_simulated_curves(noise: float) -> None:
    draw = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        exponent, height = draw.uniform(0.3, 1.2), draw.uniform(0.7, 0.98)
        truth = height - 0.5 * (np.array([*LABELS, 700]) / 100) ** -exponent
        seen = truth + draw.normal(0, noise, 7)
        _, low, high = forecast(LABELS, seen[:-1].tolist(), 100, bound=1.0)
        held += low <= seen[-1] - seen[-2] <= high
    assert 210 <= held <= 270, "70 to 90 % of 300"


@pytest.mark.parametrize(
    ("labels", "metric", "more", "message"),
    [
        ([1, 2], [0.1, 0.2], 1, "needs 4 points"),
        ([1, 2, 3], [0.1, 0.2], 1, "3 numbers of labels and 2 values"),
        ([4, 3, 2, 1], [0.1, 0.2, 0.3, 0.4], 1, "ascending"),
        ([1, 2, 3, 4], [0.1, float("nan"), 0.3, 0.4], 1, "finite"),
        ([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4], 0, "next_labels must be an integer >= 1, got 0"),
    ],
)
def test_bad_curves_are_refused(labels: list[int], metric: list[float], more: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        forecast(labels, metric, more)
