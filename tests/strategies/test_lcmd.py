"""LCMD: by hand, against its definition, and never one row twice."""

from __future__ import annotations

import pytest
import torch

from lossrank.errors import StrategyError
from lossrank.signals import Signals
from lossrank.strategies.lcmd import LCMD, largest_cluster_maximum_distance


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_by_hand() -> None:
    """Centres 0 and 100. Around 0: 5, 6, 7 (25 + 36 + 49 = 110); around 100: 109 (81). Core-set would take 109 first.

    7 is taken. Then 5 and 6 are 4 + 1 from 7, and the cluster of 100 has 81: 109. Then 5, farther from 7 than 6 is.
    """
    picked = largest_cluster_maximum_distance(column(5, 6, 7, 109), column(0, 100), 4)
    assert picked == [2, 3, 0, 1]


def plain(features: torch.Tensor, centres: torch.Tensor, n: int) -> list[int]:
    """The definition: all clusters and all sums, every time."""
    picked: list[int] = []
    for _ in range(n):
        known = torch.cat([centres, features[picked]])
        if not len(known):
            picked.append(int(features.square().sum(1).argmax()))
            continue
        distance, owner = torch.cdist(features, known, compute_mode="donot_use_mm_for_euclid_dist").min(1)
        sums = [float(distance[owner == k].square().sum()) for k in range(len(known))]
        inside = [row for row in range(len(features)) if owner[row] == sums.index(max(sums)) and row not in picked]
        picked.append(max(inside, key=lambda row: float(distance[row])))
    return picked


@pytest.mark.parametrize("centres", [0, 1, 12])
def test_equals_its_definition(centres: int) -> None:
    features = torch.randn(80, 4, dtype=torch.float64, generator=seeded(1))
    known = torch.randn(centres, 4, dtype=torch.float64, generator=seeded(2))
    assert largest_cluster_maximum_distance(features, known, 40) == plain(features, known, 40)


def test_never_one_row_twice_and_the_order_of_the_pool_does_not_matter() -> None:
    assert sorted(largest_cluster_maximum_distance(torch.ones(6, 2), torch.ones(1, 2), 6)) == list(range(6))
    signals = Signals(tuple(f"s-{7 * k % 23:02d}" for k in range(20)), {"embedding": torch.randn(20, 3)})
    known = Signals(("l",), {"embedding": torch.zeros(1, 3)})
    chosen = LCMD().select(signals, known, 8, seeded())
    assert chosen == LCMD().select(signals.take(list(range(19, -1, -1))), known, 8, seeded())
    assert len(set(LCMD().select(signals, Signals(()), 20, seeded()))) == 20


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(StrategyError, match="n must be an integer >= 0 and <= 3"):
        largest_cluster_maximum_distance(torch.zeros(3, 2), torch.zeros(0, 2), 4)
    with pytest.raises(StrategyError, match="candidates are 2 wide, centres 5"):
        largest_cluster_maximum_distance(torch.zeros(3, 2), torch.zeros(1, 5), 1)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan"), 1e30])
def test_distances_that_are_no_numbers_are_refused_and_no_row_is_repeated(value: float) -> None:
    spoilt = torch.tensor([[1.0, 2.0], [value, 0.0], [3.0, 4.0]])
    for features, centres in ((spoilt, spoilt[:0]), (spoilt, spoilt[:1]), (spoilt[::2], spoilt[1:2])):
        with pytest.raises(StrategyError, match="features are not finite, or so large that their squared distances"):
            largest_cluster_maximum_distance(features, centres, 2)
