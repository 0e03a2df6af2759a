"""Projection onto the permutahedron: by hand, against plain pooling, and in every limit."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.ranking import hard_ranks, permutahedron_ranks
from lossrank.ranking.isotonic import entropic_blocks, quadratic_blocks

both = pytest.mark.parametrize("regularisation", ["quadratic", "entropic"])
numbers = st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=12)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_two_values_by_hand() -> None:
    """In places of 1/2 at temperature 2: (-.2, 0) against (.5, 1). The gap of .2 falls short of 1/2, so both lose the
    same: they keep their gap about the mean of .75, the larger value in front."""
    ranks = permutahedron_ranks(torch.tensor([0.4, 0.0], dtype=torch.float64), temperature=2.0, standardise=False)
    assert ranks.tolist() == pytest.approx([0.65, 0.85])


def test_two_values_by_hand_entropic() -> None:
    """Shares of 3 places in proportion to exp(-value): values 0 and 1 apart would be e : 1, which exceeds 2 : 1, so the
    ranks are hard; at log(3/2) apart they are 3 : 2."""
    rank = partial(permutahedron_ranks, temperature=1.0, regularisation="entropic", standardise=False)
    assert (2 * rank(torch.tensor([1.0, 0.0], dtype=torch.float64))).tolist() == pytest.approx([1, 2])
    near = 2 * rank(torch.tensor([math.log(1.5), 0.0], dtype=torch.float64))
    assert near.tolist() == pytest.approx([3 * 2 / 5, 3 * 3 / 5])


def test_the_quadratic_form_is_the_nearest_point_of_the_permutahedron() -> None:
    """A point of the hull of all orders of w is a doubly stochastic mixture of w; n = 3 by search."""
    values = np.array([0.3, -0.1, 0.2])
    orders = np.array([[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]]) / 3
    found = minimize(
        lambda mixture: np.sum((mixture @ orders + values) ** 2),
        np.full(6, 1 / 6),
        bounds=[(0, 1)] * 6,
        constraints={"type": "eq", "fun": lambda mixture: mixture.sum() - 1},
        options={"ftol": 1e-14},
    )
    ours = permutahedron_ranks(torch.from_numpy(values), temperature=1.0, standardise=False)
    assert ours.tolist() == pytest.approx((found.x @ orders).tolist(), abs=1e-5)


@both
def test_a_small_temperature_gives_hard_ranks_exactly(regularisation: str) -> None:
    values = drawn(5, 40)
    ranks = permutahedron_ranks(values, temperature=1e-5, regularisation=regularisation)  # type: ignore[arg-type]
    torch.testing.assert_close(ranks, hard_ranks(values), atol=1e-12, rtol=0)


def test_quadratic_ranks_are_hard_from_a_gap_of_temperature_over_n_on() -> None:
    values = torch.tensor([0.0, 0.26, 0.52, 0.78], dtype=torch.float64)
    rank = partial(permutahedron_ranks, standardise=False)
    torch.testing.assert_close(rank(values, temperature=1.0), hard_ranks(values))  # gaps of .26 for 1/4
    assert not torch.allclose(rank(values, temperature=1.1), hard_ranks(values))


@both
@given(values=numbers, where=st.lists(st.booleans(), min_size=12, max_size=12), temperature=st.floats(0.01, 10))
@settings(max_examples=60, deadline=None)
def test_masked_is_cut_and_ranks_sum_to_half_of_n_plus_one(
    regularisation: str, values: list[float], where: list[bool], temperature: float
) -> None:
    rank = partial(permutahedron_ranks, temperature=temperature, regularisation=regularisation)
    x, keep = torch.tensor(values, dtype=torch.float64), torch.tensor(where[: len(values)])
    masked = rank(x, where=keep)
    torch.testing.assert_close(masked[keep], rank(x[keep]))
    assert not masked[~keep].any()
    count = int(keep.sum())
    assert masked.sum().item() == pytest.approx((count + 1) / 2 if count else 0)


@both
def test_a_batch_is_its_lists_one_by_one_and_order_does_not_matter(regularisation: str) -> None:
    rank = partial(permutahedron_ranks, regularisation=regularisation)
    values = drawn(2, 3, 50) * torch.tensor([1.0, 1e3, 1e-3], dtype=torch.float64)[:, None]
    alone = torch.stack([torch.stack([rank(x) for x in half]) for half in values])
    torch.testing.assert_close(rank(values), alone, atol=1e-12, rtol=1e-10)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rank(values[..., order]), rank(values)[..., order], atol=1e-12, rtol=1e-10)


@both
def test_neither_scale_nor_shift_matters(regularisation: str) -> None:
    rank = partial(permutahedron_ranks, regularisation=regularisation)
    torch.testing.assert_close(rank(drawn(30) * 1e-3 + 2), rank(drawn(30)))


@both
@pytest.mark.parametrize("length", [1, 2, 6])
@pytest.mark.parametrize("temperature", [0.3, 3.0])
def test_gradients_are_those_of_finite_differences(regularisation: str, length: int, temperature: float) -> None:
    values = drawn(3, length).requires_grad_()
    where = torch.arange(length).expand(3, length) != torch.tensor([[0], [1], [99]])
    rank = partial(permutahedron_ranks, temperature=temperature, regularisation=regularisation, standardise=False)
    assert torch.autograd.gradcheck(rank, values)
    assert torch.autograd.gradcheck(partial(rank, where=where), values)


@both
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([7.0], [1.0]),
        ([2.0, 2.0, 2.0], [2 / 3, 2 / 3, 2 / 3]),
        ([math.inf, 0.0, 1.0, -math.inf], [0.25, 0.75, 0.5, 1.0]),
        ([math.inf, math.inf], [0.75, 0.75]),
        ([1e300, -1e300, 0.0], [1 / 3, 1.0, 2 / 3]),
    ],
    ids=["empty", "one", "constant", "infinities", "only infinities", "huge"],
)
def test_edges_have_ranks_and_finite_gradients(regularisation: str, values: list[float], expected: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    ranks = permutahedron_ranks(x, temperature=0.01, regularisation=regularisation)  # type: ignore[arg-type]
    assert ranks.tolist() == pytest.approx(expected)
    if len(values):
        ranks.square().sum().backward()
        assert x.grad is not None
        assert torch.isfinite(x.grad).all()


def test_single_precision_ranks_a_long_list_to_single_precision() -> None:
    values = drawn(20_000)
    for regularisation in ("quadratic", "entropic"):
        rank = partial(permutahedron_ranks, regularisation=regularisation)
        torch.testing.assert_close(rank(values.float()).double(), rank(values.float().double()), atol=1e-5, rtol=0)


@given(values=st.lists(numbers, min_size=1, max_size=6), scale=st.sampled_from([1.0, 100.0, 2000.0]))
@settings(max_examples=80, deadline=None)
def test_blocks_are_those_of_pooling_each_sequence_alone(values: list[list[float]], scale: float) -> None:
    """At scale 2,000 exponentials leave the range of a double and pooling goes on in logarithms."""
    sequences = [np.sort(np.array(v, dtype=np.float64) * scale)[::-1] for v in values]
    starts = np.cumsum([0] + [len(s) for s in sequences[:-1]])
    weights = np.concatenate([np.arange(len(s), 0, -1.0) for s in sequences])
    together = np.concatenate(sequences)
    for found, level in (
        (quadratic_blocks(together - weights, starts), mean_level),
        (entropic_blocks(together, weights, starts), log_level),
    ):
        assert set(starts) <= set(found.tolist())
        edges = [*found.tolist(), len(together)]
        levels = [level(together[a:b], weights[a:b]) for a, b in itertools.pairwise(edges)]
        inside = [
            (i, j) for i, j in zip(range(len(levels)), range(1, len(levels)), strict=False) if edges[j] not in starts
        ]
        assert all(levels[i] >= levels[j] - 1e-9 for i, j in inside)  # blocks descend within a sequence ...
        for a, b in itertools.pairwise(edges):  # ... and none falls apart into two that do
            whole = level(together[a:b], weights[a:b])
            assert all(level(together[a:cut], weights[a:cut]) <= whole + 1e-9 for cut in range(a + 1, b))


def mean_level(values: np.ndarray, weights: np.ndarray) -> float:
    return float(np.mean(values - weights))


def log_level(values: np.ndarray, weights: np.ndarray) -> float:
    return float(np.logaddexp.reduce(values) - np.log(weights.sum()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ({"regularisation": "cubic"}, "regularisation must be one of quadratic and entropic, got 'cubic'"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        permutahedron_ranks(torch.zeros(3), **options)  # type: ignore[arg-type]
