"""TypiClust: large clusters without a label first, and in each the sample amid its neighbours."""

from __future__ import annotations

import pytest
import torch

from lossrank.errors import StrategyError
from lossrank.signals import Signals
from lossrank.strategies.typiclust import TypiClust, most_typical, unit_embeddings

NONE = Signals(())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fan(degrees: list[float], prefix: str = "s") -> Signals:
    """Points on the unit circle; an id says the angle."""
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    ids = tuple(f"{prefix}{degree:g}" for degree in degrees)
    return Signals(ids, {"embedding": torch.stack([angle.cos(), angle.sin()], 1).float()})


# Three groups, around 0, 90 and 200 degrees, of 11, 9 and 7; the sample in the middle is its group's most typical.
SMALL = [0, -9, -7, -4, -2, -1, 1, 2, 4, 7, 9]
GROUPS = SMALL + [90 + d for d in (0, -8, -5, -2, -1, 1, 2, 5, 8)] + [200 + d for d in (0, -9, -5, -1, 1, 5, 9)]


def test_most_typical_by_hand() -> None:
    """On a line 0, 4, 5, 6, 20: half of five is two neighbours; mean distances 4.5, 1.5, 1, 1.5, 14.5."""
    assert most_typical(torch.tensor([[0.0], [4.0], [5.0], [6.0], [20.0]]), 20) == 2
    assert most_typical(torch.tensor([[0.0], [7.0], [8.0], [20.0]]), 1) == 1  # first of two that are 1 away
    assert most_typical(torch.zeros(1, 3), 20) == 0


def test_the_middle_of_the_largest_clusters_first() -> None:
    for seed in range(5):
        assert TypiClust(neighbours=4).select(fan(GROUPS), NONE, 3, seeded(seed)) == ["s0", "s90", "s200"]


def test_covered_clusters_wait() -> None:
    """A label at 3 degrees covers the largest group: with one more cluster than groups the choice falls elsewhere."""
    known = fan([3, 3.1], "known")
    chosen = TypiClust(neighbours=4, most_clusters=3).select(fan(GROUPS), known, 2, seeded())
    assert chosen == ["s90", "s200"]


def test_a_budget_beyond_the_clusters_goes_round_again() -> None:
    chosen = TypiClust(neighbours=4, most_clusters=3).select(fan(GROUPS), NONE, 6, seeded())
    assert chosen[:3] == ["s0", "s90", "s200"]
    groups = [min((abs(float(i[1:]) - middle), middle) for middle in (0, 90, 200))[1] for i in chosen[3:]]
    assert groups == [0, 90, 200]


def test_small_clusters_come_last() -> None:
    """Five samples at 300 degrees are a cluster of their own, below the least size of six."""
    signals = fan([*GROUPS, 298, 299, 300, 301, 302])
    chosen = TypiClust(neighbours=4, most_clusters=4).select(signals, NONE, len(signals), seeded())
    assert {float(i[1:]) for i in chosen[-5:]} == {298, 299, 300, 301, 302}
    fourth = TypiClust(neighbours=4, most_clusters=4, least_size=5).select(signals, NONE, 4, seeded())[3]
    assert fourth in {"s299", "s300", "s301"}  # two neighbours one degree away each


@pytest.mark.parametrize("n", [1, 12, 27])
def test_distinct_and_independent_of_the_order(n: int) -> None:
    signals = fan(GROUPS)
    chosen = TypiClust().select(signals, fan([3, 95], "known"), n, seeded(2))
    turned = signals.take(torch.randperm(len(signals), generator=seeded(7)))
    assert chosen == TypiClust().select(turned, fan([95, 3], "known"), n, seeded(2))
    assert len(set(chosen)) == n


def test_constant_embeddings() -> None:
    for value in (0.0, 1.0):
        signals = Signals(tuple("dabc"), {"embedding": torch.full((4, 3), value)})
        assert sorted(TypiClust().select(signals, NONE, 4, seeded())) == list("abcd")
        assert len(set(TypiClust().select(signals, NONE, 2, seeded()))) == 2


def test_embeddings_are_sorted_by_id_and_of_unit_length() -> None:
    known = Signals(("y", "x"), {"embedding": torch.tensor([[0.0, 2.0], [3.0, 4.0]])})
    found = unit_embeddings(Signals(("a",), {"embedding": torch.zeros(1, 2)}), known)
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0], [0.6, 0.8], [0.0, 1.0]]))


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(StrategyError, match="candidates are 2 wide, those of the labelled"):
        TypiClust().select(fan([1, 2]), Signals(("x",), {"embedding": torch.zeros(1, 5)}), 1, seeded())
    with pytest.raises(StrategyError, match="n must be an integer >= 1 and <= 2"):
        TypiClust().select(fan([1, 2]), NONE, 3, seeded())
    with pytest.raises(StrategyError, match="neighbours must be at least 1; found 0"):
        TypiClust(neighbours=0)
    spoilt = fan([1, 2])
    spoilt.columns["embedding"][1, 1] = float("nan")
    with pytest.raises(StrategyError, match="NaN for 1 of 2 samples: s2"):
        TypiClust().select(spoilt, NONE, 1, seeded())
