"""Greedy k-center: the picks of its definition, whatever the ties, the type and where the rows lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossrank.errors import StrategyError
from lossrank.strategies import k_center, k_center_greedy


def plain_greedy(features: np.ndarray, centres: np.ndarray, n: int) -> list[int]:
    """The definition: every distance, summed over the differences in float64, the first of equals."""
    features, centres = features.astype(np.float64), centres.astype(np.float64)
    picked: list[int] = []
    nearest = np.full(len(features), np.inf)
    for centre in centres:
        nearest = np.minimum(nearest, np.square(features - centre).sum(1))
    for _ in range(n):
        picked.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.square(features - features[picked[-1]]).sum(1))
        nearest[picked] = -np.inf
    return picked


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 60),
    width=st.integers(1, 6),
    centres=st.sampled_from([0, 1, 2, 90]),
    levels=st.sampled_from([1, 2, 3, 0]),  # of coordinates: few make duplicates and ties; 0: normal
    dtype=st.sampled_from([np.float64, np.float32, np.float16]),
    offset=st.sampled_from([0, 500]),
)
def test_equals_its_definition(
    seed: int, rows: int, width: int, centres: int, levels: int, dtype: type, offset: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = (rows + centres, width)
    table = (rng.integers(0, levels, shape) if levels else rng.standard_normal(shape)) + offset
    features, known = np.split(table.astype(dtype), [rows])
    n = int(rng.integers(0, rows + 1))
    assert k_center_greedy(features, known, n) == plain_greedy(features, known, n)


@pytest.mark.parametrize("centres", [0, 1, 200])
def test_equals_its_definition_where_the_front_is_smaller_than_the_ties(
    centres: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2,000 rows on the 243 points of a grid: at each distance more rows tie than the front of 16 holds."""
    monkeypatch.setattr(k_center, "FRONT", 16)
    monkeypatch.setattr(k_center, "START", 2)
    rng = np.random.default_rng(0)
    features, known = rng.integers(0, 3, (2000, 5)).astype(float), rng.integers(0, 2, (centres, 5)).astype(float)
    assert k_center_greedy(features, known, 400) == plain_greedy(features, known, 400)


def test_rows_that_a_product_in_float32_cannot_tell_apart() -> None:
    """Squared distances 1,000,000 and 1,000,000.002: the second is farther."""
    features = np.array([[1000.0, 0.0], [1000.0, 0.05]], dtype=np.float32)
    assert k_center_greedy(features, np.zeros((1, 2), np.float32), 1) == [1]


def test_ties_by_the_first_and_no_row_twice() -> None:
    assert k_center_greedy(torch.zeros(4, 2), torch.zeros(1, 2), 4) == [0, 1, 2, 3]
    square = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert k_center_greedy(square, torch.zeros(1, 2), 2) == [0, 1]


def test_a_memory_mapped_file_of_half_precision(tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float16)
    table.tofile(tmp_path / "features")
    mapped = np.memmap(tmp_path / "features", np.float16, "r", shape=(500, 8))
    assert k_center_greedy(mapped[20:], mapped[:20], 100) == plain_greedy(table[20:], table[:20], 100)


def test_half_precision_tensors() -> None:
    features = torch.tensor([[1.0], [10.0], [4.0], [7.0]])
    for dtype in (torch.float16, torch.bfloat16):
        assert k_center_greedy(features.to(dtype), torch.zeros(1, 1, dtype=dtype), 4) == [1, 2, 3, 0]


@pytest.mark.parametrize("case", ["c0", "c1"])
def test_agrees_with_the_reference_code(case: str, oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    known = oracle("kcenter_google")
    features = torch.from_numpy(known[f"{case}_features"])
    already = known[f"{case}_already"].astype(int).tolist()
    n = int(known[f"{case}_N"])
    free = [row for row in range(len(features)) if row not in set(already)]
    picked = k_center_greedy(features[free].double(), features[already].double(), n)
    assert [free[row] for row in picked] == known[f"{case}_batch"].tolist()


def test_refuses_what_it_cannot_do() -> None:
    with pytest.raises(StrategyError, match="n must be an integer >= 0 and <= 3"):
        k_center_greedy(torch.zeros(3, 2), torch.zeros(0, 2), 4)
    with pytest.raises(StrategyError, match="candidates are 2 wide, centres 5"):
        k_center_greedy(torch.zeros(3, 2), torch.zeros(1, 5), 1)
    with pytest.raises(StrategyError, match=r"tables \[N, D\]; found \[3\]"):
        k_center_greedy(torch.zeros(3), torch.zeros(0, 2), 1)
    with pytest.raises(StrategyError, match="not finite"):
        k_center_greedy(torch.tensor([[0.0], [float("nan")]]), torch.zeros(1, 1), 1)
