"""Coverage strategies by hand, and how wide a labelled sample reaches."""

from __future__ import annotations

import math

import pytest
import torch

from lossrank.assembly import build_strategy
from lossrank.config import recipe_from
from lossrank.errors import StrategyError
from lossrank.signals import Signals
from lossrank.strategies import LossHerding, MaxHerding, Strategy, UncertaintyHerding, coverage, herding_greedy
from lossrank.strategies.coverage import label_spacing

NONE = Signals(())
DEGREES = {"c": 20.0, "a": 0.0, "d": 180.0, "b": 10.0}


def circle(length: float = 3.0, **columns: list[float]) -> Signals:
    """a, b and c close together, d opposite of them. Columns are given in the order a, b, c, d.

    Of unit length two samples are 2 sin(angle / 2) apart. With bandwidth 1 the kernels are a-b and b-c .970, a-c .886,
    a-d .018, b-d .019, c-d .021.
    """
    angle = torch.tensor(list(DEGREES.values())).deg2rad()
    place = ["abcd".index(name) for name in DEGREES]
    return Signals(
        tuple(DEGREES),
        {
            "embedding": length * torch.stack([angle.cos(), angle.sin()], 1),
            **{name: torch.tensor(values, dtype=torch.float64)[place] for name, values in columns.items()},
        },
    )


def order(strategy: Strategy, signals: Signals, labelled: Signals = NONE, n: int = 4) -> str:
    return "".join(strategy.select(signals, labelled, n, torch.Generator()))


def test_max_herding_takes_what_stands_for_most_and_then_what_is_not_covered() -> None:
    """b covers 1 + .970 + .970 + .019 = 2.96, a 2.87, c 2.88, d 1.06. Then d adds .98 and the others .03."""
    assert order(MaxHerding(), circle(), n=2) == "bd"
    assert order(MaxHerding(), circle(length=0.1), n=2) == "bd"
    known = circle().take([3])
    assert order(MaxHerding(), circle().take([0, 1, 2]), known, 1) == "d"  # b is labelled: d is not covered by it


def test_uncertainty_herding_counts_each_candidate_by_its_uncertainty() -> None:
    """a alone is unsure: it covers 1 + .1 x .970 + .1 x .886 = 1.19, b .970 + .1 + .097 = 1.17, c 1.08, d .02. Where a,
    b and c are, b covers most; where d is, d does, with .1 x (.018 + .019 + .021) + 1 = 1.01 against b's .316."""
    signals = circle(margin=[1.0, 0.1, 0.1, 0.0])
    assert order(UncertaintyHerding(bandwidth=1.0), signals, n=1) == "a"
    assert order(UncertaintyHerding(bandwidth=1.0), circle(margin=[1.0, 1.0, 1.0, 0.0]), n=1) == "b"
    assert order(UncertaintyHerding(bandwidth=1.0), circle(margin=[0.1, 0.1, 0.1, 1.0]), n=1) == "d"


@pytest.mark.parametrize("column", ["margin", "uncertainty", "least_confidence"])
def test_the_uncertainty_is_any_column_that_has_one(column: str) -> None:
    strategy = UncertaintyHerding(uncertainty=column, bandwidth=1.0)
    assert (strategy.needs, strategy.score) == ({"embedding", column}, column)
    assert order(strategy, circle(**{column: [1.0, 0.1, 0.1, 0.0]}), n=1) == "a"
    below = circle(**{column: [-1.0, -1.9, -1.9, -2.0]})  # shifted by 2: the same weights
    assert order(strategy, below, n=1) == "a"


def test_where_nothing_is_uncertain_all_count_alike() -> None:
    assert order(UncertaintyHerding(bandwidth=1.0), circle(margin=[0.0] * 4), n=2) == "bd"


def test_loss_herding_counts_each_candidate_by_the_rank_of_its_predicted_loss() -> None:
    """Ranks: c 0, b 1/3, d 2/3, a 1. a covers 1 + .970 / 3 + .012 = 1.34, b .970 + 1/3 + .013 = 1.32, c 1.22, d .69.
    Then d adds .65 and the others at most .01. How far apart the losses are has no say."""
    for losses in ([5.0, 1.0, 0.0, 3.0], [1e6, 0.1, 0.0, 0.2]):
        signals = circle(predicted_loss=losses)
        assert order(LossHerding(bandwidth=1.0), signals, n=2) == "ad"
        assert order(LossHerding(bandwidth=1.0, trust=0.0), signals, n=2) == "bd"


def test_half_of_the_trust_is_half_of_the_weight() -> None:
    signals = circle(predicted_loss=[5.0, 1.0, 0.0, 3.0]).sorted()
    assert LossHerding(trust=0.5).weight(signals).tolist() == pytest.approx([1.0, 2 / 3, 0.5, 5 / 6])
    tied = circle(predicted_loss=[2.0, 1.0, 1.0, 1.0]).sorted()
    assert LossHerding().weight(tied).tolist() == pytest.approx([1.0, 1 / 3, 1 / 3, 1 / 3])
    assert LossHerding().weight(tied.take([1])).tolist() == [0.0]
    assert order(LossHerding(), tied.take([1]), n=1) == "b"


# --- the bandwidth -------------------------------------------------------------------------------


def at(*degrees: float) -> torch.Tensor:
    angle = torch.tensor(degrees).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_the_spacing_is_the_smallest_distance_of_two_labelled() -> None:
    assert label_spacing(at(0, 90, 210)) == pytest.approx(math.sqrt(2))
    assert label_spacing(at(0, 0, 90, 210)) == pytest.approx(math.sqrt(2))  # copies are no distance
    for few in (at(), at(0), at(0, 0)):
        assert label_spacing(few.view(-1, 2)) == 1.0


def test_a_few_near_copies_do_not_make_it_next_to_nothing() -> None:
    apart = 2 * math.sin(math.radians(3) / 2)
    assert label_spacing(at(*range(0, 360, 3), 0.01)) == pytest.approx(apart, rel=1e-4)


def test_of_many_labelled_some_are_looked_up_among_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "SPACED", 10)
    assert label_spacing(at(*range(0, 360, 3))) == pytest.approx(2 * math.sin(math.radians(3) / 2), rel=1e-4)


def test_without_a_bandwidth_the_spacing_of_the_labelled_is_taken() -> None:
    draw = torch.Generator().manual_seed(0)
    pool = torch.nn.functional.normalize(torch.randn(60, 3, generator=draw))
    names = tuple(f"s-{row:02d}" for row in range(60))
    margin = torch.rand(40, generator=draw).double()
    signals, labelled = (
        Signals(names[:40], {"embedding": pool[:40], "margin": margin}),
        Signals(names[40:], {"embedding": pool[40:]}),
    )
    spacing = label_spacing(pool[40:])
    expected = herding_greedy(pool[:40], margin, pool[40:], 12, spacing)
    assert expected != herding_greedy(pool[:40], margin, pool[40:], 12, 1.0)
    assert UncertaintyHerding().select(signals, labelled, 12, draw) == [names[row] for row in expected]
    assert MaxHerding().select(signals, labelled, 12, draw) == [
        names[row] for row in herding_greedy(pool[:40], None, pool[40:], 12, 1.0)
    ]


# --- options -------------------------------------------------------------------------------------


def test_options_that_cannot_be_are_refused() -> None:
    for bad in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(StrategyError, match="max-herding: bandwidth must be finite and > 0, or null"):
            MaxHerding(bandwidth=bad)
    with pytest.raises(StrategyError, match=r"loss-herding: trust must be between 0 and 1, got 1\.5"):
        LossHerding(trust=1.5)
    with pytest.raises(StrategyError, match="least_confidence"):
        UncertaintyHerding(uncertainty="least_confidenc")


def test_a_zero_embedding_is_a_point_like_any_other() -> None:
    signals = circle()
    signals.columns["embedding"][1] = 0.0  # a: at distance 1 of all, covered to 1/e
    assert set(order(MaxHerding(), signals)) == set("abcd")


def test_a_recipe_sets_what_the_predictor_learns_by() -> None:
    recipe = recipe_from({"strategy": "loss-herding", "predictor": {"steps": 7}, "strategy_options": {"trust": 0.5}})
    strategy = build_strategy(recipe)
    assert isinstance(strategy, LossHerding)
    assert (strategy.plan.steps, strategy.plan.when, strategy.trust) == (7, "after", 0.5)


def test_a_round_says_that_no_temperature_is_calibrated() -> None:
    assert "temperature" in UncertaintyHerding().departures()[0]
    assert MaxHerding().departures() == LossHerding().departures() == ()
