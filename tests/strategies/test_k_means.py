"""k-means++: what is drawn follows squared distances, however lazily they are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lossrank.errors import StrategyError
from lossrank.strategies import k_means
from lossrank.strategies.k_means import factored_k_means_plus_plus, k_means_clusters, k_means_plus_plus


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_frequencies_are_squared_distances() -> None:
    """Centre at 0, points at 1, 2 and 3: squared distances 1, 4 and 9 of 14."""
    line, generator = torch.tensor([[1.0], [2.0], [3.0]]), seeded()
    counts = np.zeros(3)
    for _ in range(1400):
        counts[k_means_plus_plus(line, 1, generator, torch.zeros(1, 1))[0]] += 1
    assert counts == pytest.approx([100, 400, 900], abs=70)  # standard deviations 10, 17, 18


def test_frequencies_of_the_second_pick_follow_the_first() -> None:
    """Points at 0, 1 and 3, centre at 0: first 1 or 3, with 1/10 and 9/10, then the other, the only one away."""
    line, generator = torch.tensor([[0.0], [1.0], [3.0]]), seeded()
    firsts = [k_means_plus_plus(line, 2, generator, torch.zeros(1, 1)) for _ in range(1000)]
    assert {tuple(pair) for pair in firsts} == {(1, 2), (2, 1)}
    assert sum(pair == [1, 2] for pair in firsts) == pytest.approx(100, abs=40)  # standard deviation 9.5


def test_lazy_draws_have_the_distribution_of_plain_ones() -> None:
    """Three picks of five points on a line; every ordered triple's probability is worked out by the definition."""
    line, generator = torch.tensor([[0.0], [1.0], [3.0], [4.0], [9.0]], dtype=torch.float64), seeded(3)
    squared = (line - line.T).square().numpy()
    expected: dict[tuple[int, ...], float] = {}
    for a in range(5):
        for b in range(5):
            for c in range(5):
                near = np.minimum(squared[a], squared[b])
                chance = squared[a, b] / squared[a].sum() / 5 * (near[c] / near.sum() if a != b else 0)
                expected[a, b, c] = chance
    assert sum(expected.values()) == pytest.approx(1)
    draws = 4000
    seen = dict.fromkeys(expected, 0)
    for _ in range(draws):
        seen[tuple(k_means_plus_plus(line, 3, generator))] += 1
    assert all(seen[key] == 0 for key, chance in expected.items() if chance == 0)
    kept = [key for key, chance in expected.items() if chance > 0]
    chi = sum((seen[key] - draws * expected[key]) ** 2 / (draws * expected[key]) for key in kept)
    assert len(kept) == 60
    assert chi < 98  # 99.9 % of a chi-squared variable with 59 degrees of freedom lie below


def test_weights_scale_the_frequencies_and_weight_zero_comes_last() -> None:
    """Both one away from the centre, weights 3 and 1; the third, far away, weighs nothing."""
    points, generator = torch.tensor([[1.0], [-1.0], [50.0]]), seeded()
    weights = torch.tensor([3.0, 1.0, 0.0])
    picks = [k_means_plus_plus(points, 3, generator, torch.zeros(1, 1), weights) for _ in range(400)]
    assert sum(pick[0] == 0 for pick in picks) == pytest.approx(300, abs=45)  # standard deviation 8.7
    assert all(pick[2] == 2 for pick in picks)


def test_without_centres_the_first_is_uniform() -> None:
    line, generator = torch.tensor([[0.0], [1.0], [100.0]]), seeded()
    counts = np.bincount([k_means_plus_plus(line, 1, generator)[0] for _ in range(900)], minlength=3)
    assert counts == pytest.approx([300, 300, 300], abs=60)  # standard deviation 14


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.integers(1, 6), rows=st.integers(1, 40), known=st.integers(0, 5), seed=st.integers(0, 99), data=st.data()
)
def test_never_twice_and_every_distinct_point_before_a_copy(
    kinds: int, rows: int, known: int, seed: int, data: st.DataObject
) -> None:
    values = torch.randn(kinds, 7, generator=seeded(seed))
    which = torch.randint(kinds, (rows,), generator=seeded(seed + 1))
    centres = values[torch.randint(kinds, (known,), generator=seeded(seed + 2))]
    n = data.draw(st.integers(0, rows))
    picked = k_means_plus_plus(values[which], n, seeded(seed), centres)
    assert len(set(picked)) == len(picked) == n
    fresh = {int(which[row]) for row in picked}
    new = [kind for kind in set(which.tolist()) if not any(torch.equal(values[kind], c) for c in centres)]
    assert len(fresh & set(new)) == min(n, len(new))


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(2, 30), a=st.integers(1, 6), h=st.integers(1, 9), seed=st.integers(0, 999))
def test_factored_distances_equal_written_out_ones(rows: int, a: int, h: int, seed: int) -> None:
    generator = seeded(seed)
    left = torch.randn(rows, a, dtype=torch.float64, generator=generator)
    right = torch.randn(rows, h, dtype=torch.float64, generator=generator)
    field = k_means._Nearest((left, right), None, rows)
    field.add(range(rows))
    written = (left[:, :, None] * right[:, None, :]).flatten(1)
    expected = (written[:, None] - written).square().sum(2)
    torch.testing.assert_close(field.distances(slice(None), slice(0, rows)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("blocks", [(64, 4096, 1024), (3, 5, 2)])
def test_bounds_kept_lazily_end_at_the_true_distances(
    blocks: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in zip(("PROPOSALS", "ROWS", "CENTRES"), blocks, strict=True):
        monkeypatch.setattr(k_means, name, size)
    points = torch.randn(50, 4, dtype=torch.float64, generator=seeded())
    points[9], points[30] = (
        points[5] + 0.01,
        points[14] + 0.01,
    )  # the first centre that a refused row missed is its nearest
    field = k_means._Nearest((points,), (points[:7] + 1,), 43)
    field.measure_all()
    everyone = [points[:7] + 1]
    for start in (0, 9, 30):
        rows = np.array([start, start + 1, start, start + 5])
        accepted = field.try_all(rows, np.array([0.0, 0.0, 0.0, 1.0]), 43)
        assert accepted == [start, start + 1]
        everyone.append(points[accepted])
        true = torch.cdist(points, torch.cat(everyone)).square().amin(1).numpy()
        assert (field.nearest >= true - 1e-9).all()
    one_by_one = [float(field.measure(np.array([row]))[0]) for row in range(50)]
    assert one_by_one == pytest.approx(true.tolist(), abs=1e-9)
    field.measure_all()
    assert field.nearest == pytest.approx(true, abs=1e-9)


@pytest.mark.parametrize("n", [1, 17, 300])
def test_many_picks_in_small_blocks(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(k_means, "PROPOSALS", 4)
    points = torch.randn(300, 3, generator=seeded())
    picked = k_means_plus_plus(points, n, seeded())
    assert len(set(picked)) == n
    assert picked == k_means_plus_plus(points, n, seeded())


def test_a_far_cluster_is_always_visited() -> None:
    """9 points at 0, 9 at 10 and one at 1,000: three picks take one of each."""
    line = torch.tensor([0.0] * 9 + [10.0] * 9 + [1000.0])[:, None]
    for seed in range(20):
        assert {row // 9 for row in k_means_plus_plus(line, 3, seeded(seed))} == {0, 1, 2}


def test_the_first_row_may_be_given() -> None:
    assert factored_k_means_plus_plus((torch.eye(4),), 2, seeded(), first=3)[0] == 3


def test_integers_numpy_and_half_precision() -> None:
    grid = np.array([[0, 0], [0, 9], [9, 0]])
    for features in (grid, grid.astype(np.float16), torch.from_numpy(grid).bfloat16()):
        assert sorted(k_means_plus_plus(features, 3, seeded())) == [0, 1, 2]


def test_what_cannot_be_done_is_refused() -> None:
    points = torch.zeros(3, 2)
    with pytest.raises(StrategyError, match="n must be an integer >= 0 and <= 3, got 4"):
        k_means_plus_plus(points, 4, seeded())
    with pytest.raises(StrategyError, match="features are 2 wide, centres 5"):
        k_means_plus_plus(points, 1, seeded(), torch.zeros(1, 5))
    with pytest.raises(StrategyError, match="not finite"):
        k_means_plus_plus(torch.full((3, 2), torch.inf), 1, seeded())
    for weights in ([1.0, -1.0, 1.0], [1.0, 1.0], [1.0, float("nan"), 1.0]):
        with pytest.raises(StrategyError, match="weights must be 3 finite numbers, none negative"):
            k_means_plus_plus(points, 1, seeded(), weights=torch.tensor(weights))


@pytest.mark.parametrize("clusters", [3, 60])
def test_clusters_are_found_and_repeat_with_the_seed(clusters: int) -> None:
    """Groups 100 apart on a line, four alike in each: members of one group share a cluster."""
    points = (torch.arange(clusters) * 100.0).repeat_interleave(4)[:, None]
    found = k_means_clusters(points, clusters, seeded(1))
    assert found.shape == (4 * clusters,)
    assert (found == k_means_clusters(points, clusters, seeded(1))).all()
    groups = found.reshape(clusters, 4)
    assert (groups == groups[:, :1]).all()
    assert len(set(groups[:, 0].tolist())) >= 0.95 * clusters  # k-means may leave two groups in one cluster


def test_fewer_distinct_points_than_clusters() -> None:
    assert len(set(k_means_clusters(torch.ones(5, 2), 3, seeded()).tolist())) == 1
