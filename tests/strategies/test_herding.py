"""Greedy weighted coverage: the picks of its definition, whichever way the bounds are taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossrank.errors import StrategyError
from lossrank.strategies import herding, herding_bounds, herding_greedy


def plain_greedy(
    embedding: np.ndarray,
    weight: np.ndarray | None,
    covered: np.ndarray,
    n: int,
    bandwidth: float,
    targets: np.ndarray | None = None,
) -> list[int]:
    """The definition: all kernels in float64 by differences; gains to 11 digits, the first of equals."""
    rows, known = embedding.astype(np.float64), covered.astype(np.float64)
    goals = rows if targets is None else rows[targets]
    weights = np.ones(len(rows)) if weight is None else weight
    weights = weights if targets is None else weights[targets]

    def kernel(other: np.ndarray) -> np.ndarray:
        return np.exp(-np.square(goals[:, None] - other[None]).sum(-1) / bandwidth**2)

    kernels = kernel(rows)
    coverage = kernel(known).max(1) if len(known) else np.zeros(len(goals))
    picked: list[int] = []
    for _ in range(n):
        more = kernels - coverage[:, None]
        gains = weights @ np.where(more > 1e-12, more, 0)
        gains = np.array([float(f"{gain:.11g}") for gain in gains])
        gains[picked] = -1
        picked.append(int(gains.argmax()))
        coverage = np.maximum(coverage, kernels[:, picked[-1]])
    return picked


@contextmanager
def small_blocks(**changes: int) -> Iterator[None]:
    """A few rows fill a block, a batch and, with `PAIRS`, the memory for lists."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(herding_bounds, "BLOCK", 8)
        for name, value in {"REFRESHED": 4, "LISTED": 2, "CHUNK": 3, **changes}.items():
            patch.setattr(herding, name, value)
        yield


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 50),
    width=st.integers(1, 6),
    covered=st.sampled_from([0, 1, 2, 30]),
    levels=st.sampled_from([1, 2, 3, 0]),  # of coordinates: few make duplicates and ties; 0: normal
    dtype=st.sampled_from([np.float64, np.float32, np.float16]),
    offset=st.sampled_from([0, 500]),
    weights=st.sampled_from(["none", "a few levels and zeros", "mostly zero", "any"]),
    bandwidth=st.sampled_from([0.02, 0.5, 1.0, 4.0]),
    pairs=st.sampled_from([0, 60, 10_000]),  # no lists at the start; lists that are forgotten; all lists at the start
)
def test_equals_its_definition(
    seed: int,
    rows: int,
    width: int,
    covered: int,
    levels: int,
    dtype: type,
    offset: int,
    weights: str,
    bandwidth: float,
    pairs: int,
) -> None:
    rng = np.random.default_rng(seed)
    shape = (rows + covered, width)
    table = (rng.integers(0, levels, shape) if levels else rng.standard_normal(shape)) + offset
    embedding, known = np.split(table.astype(dtype), [rows])
    weight = {
        "none": None,
        "a few levels and zeros": rng.choice([0.0, 1.0, 2.0], rows),
        "mostly zero": rng.random(rows) * (rng.random(rows) < 0.2),
        "any": rng.random(rows),
    }[weights]
    n = int(rng.integers(0, rows + 1))
    with small_blocks(PAIRS=pairs):
        found = herding_greedy(embedding, weight, known, n, bandwidth)
    assert found == plain_greedy(embedding, weight, known, n, bandwidth)


def test_three_on_a_line() -> None:
    """At 0, 1, 2 and 10, bandwidth 1: the middle covers 1 + 2/e = 1.74, an end 1 + 1/e + e^-4 = 1.39; then 10 adds 1.
    With a weight of 3 at 0 that end covers 3 + 1/e + e^-4 = 3.39 and the middle 3/e + 1 + 1/e = 2.47."""
    line, none = torch.tensor([[0.0], [1.0], [2.0], [10.0]]), torch.empty(0, 1)
    assert herding_greedy(line, None, none, 4, 1.0) == [1, 3, 0, 2]
    assert herding_greedy(line, torch.tensor([3.0, 1.0, 1.0, 1.0]), none, 2, 1.0) == [0, 3]
    assert herding_greedy(line, None, torch.tensor([[1.0]]), 1, 1.0) == [3]


def test_rows_whose_gains_float32_cannot_tell_apart() -> None:
    """Both cover one other row, at distances 1 and 0.9999999: the second covers it more."""
    embedding = np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 1.0], [100.0, 0.9999999]])
    assert herding_greedy(embedding, np.array([0.0, 0.0, 1.0, 1.0]), embedding[:0], 1, 1.0) == [2]
    assert herding_greedy(embedding, np.array([1.0, 1.0, 0.0, 0.0]), embedding[2:], 1, 1.0) == [0]
    for pairs in (0, 10_000):
        with small_blocks(PAIRS=pairs):
            assert herding_greedy(embedding[2:], None, embedding[:2], 1, 1.0) == [0]
            assert herding_greedy(embedding[[3, 2]], None, embedding[:2], 1, 1.0) == [1]


def test_beyond_a_number_of_candidates_evenly_spaced_ones_are_covered_and_any_may_be_picked() -> None:
    rng = np.random.default_rng(3)
    embedding, weight = rng.standard_normal((40, 3)).astype(np.float32), rng.random(40)
    with small_blocks(COVERED=10):
        found = herding_greedy(embedding, weight, embedding[:0], 12, 1.0)
    targets = np.linspace(0, 39, 10).astype(int)
    assert found == plain_greedy(embedding, weight, embedding[:0], 12, 1.0, targets)
    assert set(found) - set(targets.tolist())


def test_a_list_forgotten_between_its_gain_and_its_pick_is_made_again() -> None:
    """Lists of one pair at most are kept: each new batch of lists forgets those before it, also that of the best."""
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((60, 4))
    for listed in (1, 2, 5):
        with small_blocks(PAIRS=1, LISTED=listed, REFRESHED=60):
            found = herding_greedy(embedding, None, embedding[:0], 30, 2.0)
        assert found == plain_greedy(embedding, None, embedding[:0], 30, 2.0)


def test_a_memory_mapped_file_of_half_precision(tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((220, 8)).astype(np.float16)
    table.tofile(tmp_path / "features")
    mapped = np.memmap(tmp_path / "features", np.float16, "r", shape=table.shape)
    expected = plain_greedy(table[20:], None, table[:20], 50, 2.0)
    assert herding_greedy(mapped[20:], None, mapped[:20], 50, 2.0) == expected
    halves = torch.from_numpy(table)
    assert herding_greedy(halves[20:], None, halves[:20], 50, 2.0) == expected


@pytest.mark.parametrize("pairs", [0, 10_000])
def test_what_is_nothing_to_gain_goes_by_the_first_row(pairs: int) -> None:
    square = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    with small_blocks(PAIRS=pairs):
        assert herding_greedy(square, None, square, 4, 1.0) == [0, 1, 2, 3]  # all covered
        assert herding_greedy(square, np.zeros(4), square[:0], 3, 1.0) == [0, 1, 2]  # nothing counts
        assert herding_greedy(np.zeros((4, 2)), None, square[:0], 4, 1.0) == [0, 1, 2, 3]  # copies
        assert herding_greedy(square, None, square[:0], 4, 1.0) == [0, 1, 2, 3]  # by symmetry: opposite, then the rest
        assert herding_greedy(square, None, square[:0], 4, 1e-9) == [0, 1, 2, 3]  # each covers itself alone
        assert herding_greedy(square, None, square[:0], 4, 1e9) == [0, 1, 2, 3]  # the first covers everything
        assert herding_greedy(square, None, square[:0], 0, 1.0) == []
        assert herding_greedy(square[:0], None, square, 0, 1.0) == []
        assert herding_greedy(square[:1], None, square[:0], 1, 1.0) == [0]


def test_only_the_ratio_of_weights_counts() -> None:
    rng = np.random.default_rng(1)
    embedding, weight = rng.standard_normal((30, 3)), rng.random(30)
    picks = herding_greedy(embedding, weight, embedding[:0], 10, 1.0)
    for factor in (2.0**-1000, 2.0**1000):
        assert herding_greedy(embedding, weight * factor, embedding[:0], 10, 1.0) == picks
    far = 100 * np.eye(3)  # none covers another: by weight, however small it is beside the largest
    assert herding_greedy(far, np.array([1e-200, 1.0, 1e-100]), far[:0], 3, 1.0) == [1, 2, 0]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "bandwidth of 0": ({"bandwidth": 0.0}, "bandwidth must be > 0"),
    "negative bandwidth": ({"bandwidth": -1.0}, "bandwidth must be > 0"),
    "NaN bandwidth": ({"bandwidth": float("nan")}, "bandwidth must be > 0"),
    "infinite bandwidth": ({"bandwidth": float("inf")}, "bandwidth must be > 0"),
    "negative weight": ({"weight": np.array([1.0, -1.0, 1.0])}, "weight must be finite and >= 0, got -1.0 to 1.0"),
    "infinite weight": ({"weight": np.array([1.0, np.inf, 1.0])}, "weight must be finite and >= 0"),
    "NaN weight": ({"weight": np.array([1.0, np.nan, 1.0])}, "weight must be finite and >= 0"),
    "weights of another number": ({"weight": np.ones(2)}, r"weight must be \[3\], got \[2\]"),
    "too many picks": ({"n": 4}, "n must be between 0 and the 3 candidates, got 4"),
    "fewer than no picks": ({"n": -1}, "n must be between 0 and the 3 candidates, got -1"),
    "another width": ({"covered": np.zeros((1, 5))}, r"covered must be \[rows, 2\], got \[1, 5\]"),
    "no table": ({"embedding": np.zeros(3)}, r"embedding must be \[candidates, width\], got \[3\]"),
    "NaN": ({"embedding": np.array([[0.0, 0.0], [np.nan, 0.0], [1.0, 1.0]])}, "embedding must be finite"),
    "infinity": ({"embedding": np.array([[0.0, 0.0], [1.0, 0.0], [np.inf, 1.0]])}, "embedding must be finite"),
    "NaN among the covered": ({"covered": np.array([[0.0, np.nan]])}, "not finite"),
    "too large in bandwidths": ({"bandwidth": 1e-30}, "distances less than 1e18 times the bandwidth"),
}


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused(changes: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "embedding": np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
        "weight": None,
        "covered": np.zeros((0, 2)),
        "n": 2,
        "bandwidth": 1.0,
    }
    with pytest.raises(StrategyError, match=message):
        herding_greedy(**{**given, **changes})
