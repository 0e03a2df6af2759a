"""Statistics of paired seeds, against hand-made cases and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from lossrank.statistics import bootstrap_weights, compared, holm, paired_p, percentiles, sign_flip_p


def test_the_paired_test_and_its_interval_are_scipys() -> None:
    one, other = [0.91, 0.95, 0.90, 0.99, 0.93], [0.90, 0.91, 0.91, 0.93, 0.90]
    told = scipy.stats.ttest_rel(one, other)
    pair = compared({"a": one, "b": other})["a", "b"]
    assert pair.p == pytest.approx(told.pvalue, rel=1e-12)
    interval = told.confidence_interval(0.95)
    assert (pair.low, pair.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_signs_are_all_flipped() -> None:
    # 1, 2, 3: |sum| 6 is reached by +++ and --- alone, 2 of 8; 1, 1, -1: |sum| 1 or more by all 8
    assert sign_flip_p([1.0, 2.0, 3.0]) == 0.25
    assert sign_flip_p([1.0, 1.0, -1.0]) == 1.0
    differences = [0.3, -0.1, 0.5, 0.2, 0.4, 0.1]
    exact = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip_p(differences) == pytest.approx(exact.pvalue)


def test_five_seeds_can_never_reach_five_per_cent_by_signs() -> None:
    assert sign_flip_p([1.0, 1.1, 1.2, 1.3, 1.4]) == 2 / 32


def test_holms_adjusted_p_by_hand() -> None:
    # .01 * 3, then .02 * 2 = .04, then .03 * 1 raised to .04
    assert holm({"a": 0.03, "b": 0.01, "c": 0.02}) == pytest.approx({"b": 0.03, "c": 0.04, "a": 0.04})


def test_one_seed_claims_nothing() -> None:
    pair = compared({"a": [90.0], "b": [10.0]})["a", "b"]
    assert pair.p == 1.0
    assert not pair.told_apart
    assert np.isnan(pair.low)


def test_few_seeds_are_resampled_in_every_way() -> None:
    # 2 seeds: (0,0), (0,1), (1,0), (1,1)
    assert bootstrap_weights(2).tolist() == [[1.0, 0.0], [0.5, 0.5], [0.5, 0.5], [0.0, 1.0]]
    assert bootstrap_weights(10).shape == (2000, 10)
    assert bootstrap_weights(10).sum(1) == pytest.approx(1.0)


def test_percentiles_keep_infinity_at_its_end() -> None:
    values = np.array([*range(100), np.inf], dtype=float)
    assert percentiles(values) == (2.0, 98.0)
    assert percentiles(np.array([1.0, np.inf]))[1] == np.inf


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_equal_strategies_are_told_apart_in_at_most_six_of_a_hundred_sweeps(seeds: int) -> None:
    draw = np.random.default_rng(seeds)
    wins = 0
    for _ in range(4000):
        shared = draw.normal(0, 2, seeds)  # what a seed does to both
        values = {name: (shared + draw.normal(0, 1, seeds)).tolist() for name in ("a", "b")}
        wins += compared(values)["a", "b"].told_apart
    assert 0.02 <= wins / 4000 <= 0.06, "a test that never rejects would be as wrong"


def test_a_difference_that_is_there_is_found() -> None:
    draw = np.random.default_rng(0)
    found = sum(paired_p((2 + draw.normal(0, 1, 5)).tolist()) <= 0.05 for _ in range(200))
    assert found > 160  # power of a t-test at 2 standard deviations and 5 seeds: .91
