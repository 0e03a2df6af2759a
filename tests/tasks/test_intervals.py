"""Intervals of a metric: how often they hold what is true, and when there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import beta, binom

from lossrank.tasks import Classification, Regression
from lossrank.tasks.intervals import FEWEST, Jackknife, interval_of_mean, interval_of_share

CLASSES = ("a", "b")


def share(right: int, wrong: int) -> Jackknife:
    found = Jackknife(Classification(CLASSES, lambda generator: torch.nn.Identity(), ("",)))
    targets = torch.tensor([0] * right + [1] * wrong)
    for batch in targets.split(3):
        found.update(torch.tensor([[1.0, 0.0]]).expand(len(batch), 2), batch)
    return found


def errors(values: torch.Tensor) -> Jackknife:
    found = Jackknife(Regression(("v",), lambda generator: torch.nn.Identity(), ("",)))
    for batch in values.float().split(7):
        found.update(torch.zeros(len(batch), 1), batch[:, None])
    return found


def test_the_interval_of_an_accuracy_is_jeffreys() -> None:
    found = share(16, 4).interval()
    assert found is not None
    assert (found.value, found.samples) == (0.8, 20)
    assert [found.low, found.high] == pytest.approx(beta.ppf([0.1, 0.9], 16.5, 4.5).tolist())
    none_wrong = share(20, 0).interval()
    assert none_wrong is not None
    assert none_wrong.high == 1.0
    assert none_wrong.low == pytest.approx(beta.ppf(0.1, 20.5, 0.5))


def test_fewer_than_five_samples_give_no_interval() -> None:
    assert share(FEWEST - 1, 0).interval() is None
    assert share(FEWEST, 0).interval() is not None
    assert errors(torch.arange(1.0, FEWEST)).interval() is None
    assert errors(torch.ones(20)).interval() is None, "samples that do not vary say nothing of their spread"


@pytest.mark.parametrize("samples", [5, 10, 30])
def test_the_interval_of_a_share_holds_four_times_in_five_over_true_shares(samples: int) -> None:
    truths = np.linspace(0.02, 0.98, 97)
    ends = [interval_of_share(k / samples, samples) for k in range(samples + 1)]
    held = [sum(binom.pmf(k, samples, p) for k, (low, high) in enumerate(ends) if low <= p <= high) for p in truths]
    assert 0.75 < np.mean(held) < 0.88


@pytest.mark.parametrize("samples", [6, 20])
def test_the_interval_of_a_mean_error_holds_four_times_in_five(samples: int) -> None:
    metric = Regression(("v",), lambda generator: torch.nn.Identity(), ("",)).metric()
    drawn = np.random.default_rng(0).exponential(2.0, (4000, samples))
    held = []
    for row in drawn:
        ends = interval_of_mean(metric, row.mean(), row.std(ddof=1) / math.sqrt(samples), samples, samples)
        assert ends is not None
        held.append(ends[0] <= 2.0 <= ends[1])
    assert 0.7 < np.mean(held) < 0.87


def test_the_jackknife_of_a_mean_is_its_standard_error_whatever_the_batches() -> None:
    values = torch.tensor(np.random.default_rng(1).exponential(2.0, 30))
    found = errors(values).interval()
    assert found is not None
    error = float(values.float().double().std()) / math.sqrt(30)
    ends = interval_of_mean(errors(values).metric, found.value, error, 30, 30)
    assert ends is not None
    assert [found.low, found.high] == pytest.approx(list(ends), rel=1e-5)
    many = errors(torch.tensor(np.random.default_rng(2).exponential(2.0, 1000))).interval()
    assert many is not None
    assert many.samples == 1000
    assert 0.05 < (many.high - many.low) / many.value < 0.12, "groups of 20 samples: 2 * 1.28 / sqrt(1000) is 0.081"
