"""ProbCover: balls by hand on the circle, the radius by purity, greedy cover against its definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lossrank.errors import StrategyError
from lossrank.signals import Signals
from lossrank.strategies import probcover
from lossrank.strategies.probcover import ProbCover, greedy_cover, pure_radius

NONE = Signals(())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def circle(degrees: list[float]) -> torch.Tensor:
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angle.cos(), angle.sin()], 1).float()


def fan(degrees: list[float], prefix: str = "s") -> Signals:
    return Signals(tuple(f"{prefix}{degree:g}" for degree in degrees), {"embedding": circle(degrees)})


def chord(degrees: float) -> float:
    """Distance of two points on the unit circle."""
    return 2 * math.sin(math.radians(degrees) / 2)


def test_the_widest_cover_first() -> None:
    """Radius 11 degrees. The ball of 10 holds 0, 10, 20; that of 105 holds 100, 105; 200 holds itself."""
    signals = fan([0, 10, 20, 100, 105, 200])
    chosen = ProbCover(delta=chord(11)).select(signals, NONE, 3, seeded())
    assert chosen == ["s10", "s100", "s200"]  # s100 and s105 cover the same: the first by id


def test_labelled_samples_cover_already() -> None:
    """A label at 12 degrees covers 10 and 20 at radius 11; 0 is left to itself, so 100 comes first, with two."""
    chosen = ProbCover(delta=chord(11)).select(fan([0, 10, 20, 100, 105, 200]), fan([12], "known"), 3, seeded())
    assert chosen[0] == "s100"
    assert set(chosen[1:]) == {"s0", "s200"}


def test_a_covered_sample_may_be_chosen_for_what_it_covers() -> None:
    """Near the pole, radius .11. The label at (0, 0) covers b; b is .10 from a and from c, which are .18 apart."""
    patch = torch.tensor([[0.15, 0.09, 1.0], [0.10, 0.0, 1.0], [0.15, -0.09, 1.0]])
    known = Signals(("known",), {"embedding": torch.tensor([[0.0, 0.0, 1.0]])})
    assert ProbCover(delta=0.11).select(Signals(tuple("abc"), {"embedding": patch}), known, 1, seeded()) == ["b"]


def test_once_all_is_covered_the_rest_is_drawn() -> None:
    signals = fan([0, 10, 20, 100, 105, 200])
    draws = {tuple(ProbCover(delta=chord(11)).select(signals, NONE, 4, seeded(seed))) for seed in range(30)}
    assert {d[:3] for d in draws} == {("s10", "s100", "s200")}
    assert {d[3] for d in draws} == {"s0", "s20", "s105"}


def test_the_radius_by_purity() -> None:
    """Two groups: 0, 10, 20 and 100, 110, 120. Nearest of the other group: 100, 90, 80 and 80, 90, 100 degrees away.

    All six balls stay pure up to 80 degrees; two thirds of them up to 90.
    """
    points = circle([0, 10, 20, 100, 110, 120])
    assert pure_radius(points, 2, 1.0, seeded()) == pytest.approx(chord(80), abs=1e-5)
    assert pure_radius(points, 2, 0.95, seeded()) == pytest.approx(chord(80), abs=1e-5)
    assert pure_radius(points, 2, 2 / 3, seeded()) == pytest.approx(chord(90), abs=1e-5)


def test_purity_chooses_a_ball_for_each_group() -> None:
    groups = [float(middle + d) for middle in (0, 120, 240) for d in range(-6, 7, 2)]
    chosen = ProbCover(clusters=3).select(fan(groups), NONE, 3, seeded())
    assert sorted(round(float(i[1:]) / 120) for i in chosen) == [0, 1, 2]


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 40), known=st.integers(0, 4), delta=st.floats(0.05, 1.5), seed=st.integers(0, 999))
def test_greedy_cover_equals_its_definition(rows: int, known: int, delta: float, seed: int) -> None:
    points = F.normalize(torch.randn(rows, 3, generator=seeded(seed)))
    centres = F.normalize(torch.randn(known, 3, generator=seeded(seed + 1)))
    near = (points[:, None] - points).square().sum(2).sqrt() < delta
    bare = ~((points[:, None] - centres).square().sum(2).sqrt() < delta).any(1)
    expected: list[int] = []
    while bare.any() and len(expected) < 7:
        gain = (near & bare).sum(1)
        expected.append(int(gain.argmax()))
        bare &= ~near[expected[-1]]
    assert greedy_cover(points, centres, delta, 7) == expected


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    points = F.normalize(torch.randn(60, 3, generator=seeded()))
    whole = greedy_cover(points, points[:2], 0.4, 20), pure_radius(points, 4, 0.9, seeded())
    monkeypatch.setattr(probcover, "BLOCK", 7)
    in_blocks = greedy_cover(points, points[:2], 0.4, 20), pure_radius(points, 4, 0.9, seeded())
    assert whole[0] == in_blocks[0]
    assert whole[1] == pytest.approx(in_blocks[1], abs=1e-5)


@pytest.mark.parametrize("n", [1, 12, 21])
def test_distinct_and_independent_of_the_order(n: int) -> None:
    signals = Signals(
        tuple(f"{37 * i % 101}" for i in range(21)), {"embedding": torch.randn(21, 4, generator=seeded())}
    )
    known = Signals(("p", "q"), {"embedding": torch.randn(2, 4, generator=seeded(1))})
    chosen = ProbCover().select(signals, known, n, seeded(2))
    turned = signals.take(torch.randperm(21, generator=seeded(7)))
    assert chosen == ProbCover().select(turned, known.take([1, 0]), n, seeded(2))
    assert len(set(chosen)) == n


def test_constant_embeddings() -> None:
    for value in (0.0, 1.0):
        signals = Signals(tuple("dabc"), {"embedding": torch.full((4, 3), value)})
        assert ProbCover().select(signals, NONE, 1, seeded()) == ["a"]
        assert sorted(ProbCover().select(signals, NONE, 4, seeded())) == list("abcd")


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(StrategyError, match="candidates are 2 wide, those of the labelled"):
        ProbCover().select(fan([1, 2]), Signals(("x",), {"embedding": torch.zeros(1, 5)}), 1, seeded())
    with pytest.raises(StrategyError, match="n must be an integer >= 1 and <= 2"):
        ProbCover().select(fan([1, 2]), NONE, 3, seeded())
    with pytest.raises(StrategyError, match="delta must lie above 0 and at most at 2; found 0"):
        ProbCover(delta=0.0)
    with pytest.raises(StrategyError, match=r"found 0 and 0\.95"):
        ProbCover(clusters=0)
    spoilt = fan([1, 2])
    spoilt.columns["embedding"][1, 1] = float("nan")
    with pytest.raises(StrategyError, match="NaN for 1 of 2 samples: s2"):
        ProbCover().select(spoilt, NONE, 1, seeded())
