"""The switches around a score: each by hand, together, and off."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from lossrank.assembly import build_strategy
from lossrank.config import recipe_from
from lossrank.errors import ConfigError, StrategyError
from lossrank.signals import Signals
from lossrank.strategies import L2RAL, Badge, Bald, CoreSet, Entropy, Refined, Strategy, Subsample
from lossrank.strategies.spread import typical_distance, without_copies
from lossrank.strategies.stochastic import perturbed

NONE = Signals(())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pool(scores: list[float], embedding: list[list[float]] | None = None) -> Signals:
    """Samples a, b, c .. in reverse order, so that no row number is an answer."""
    names = tuple(chr(ord("a") + row) for row in range(len(scores)))
    columns = {"uncertainty": torch.tensor(scores)}
    if embedding is not None:
        columns["embedding"] = torch.tensor(embedding)
    return Signals(names, columns).take(list(range(len(scores)))[::-1])


def choose(signals: Signals, n: int, labelled: Signals = NONE, seed: int = 0, **switches: Any) -> str:
    return "".join(Entropy(**switches).select(signals, labelled, n, seeded(seed)))


# --- guard ---------------------------------------------------------------------------------------


def test_the_guard_asks_for_the_hardest_share_last_and_hardest_at_the_very_end() -> None:
    """Of ten the largest 25 %, rounded down: two."""
    ten = pool([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    assert choose(ten, 3, guard=0.25) == "hgf"
    assert choose(ten, 10, guard=0.25) == "hgfedcbaij"
    assert choose(ten, 3, guard=0.09) == "jih"


# --- noise ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "odds"), [("power", [1, 2, 5]), ("softmax", None), ("softrank", [1 / 3, 1 / 2, 1])])
def test_the_first_of_a_drawn_batch_has_the_odds_of_the_paper(kind: str, odds: list[float] | None) -> None:
    """Scores 1, 2, 5: in proportion to themselves, to e^score, to one over their rank. 3,000 draws, deviation 27."""
    odds = odds or [math.e, math.e**2, math.e**5]
    signals = pool([1.0, 2.0, 5.0])
    first = Counter(choose(signals, 1, seed=seed, noise=kind) for seed in range(3000))
    for name, share in zip("abc", odds, strict=True):
        assert first[name] == pytest.approx(3000 * share / sum(odds), abs=110)


def test_sharpness_is_an_exponent_and_equal_scores_share_a_rank() -> None:
    signals = pool([1.0, 2.0])
    first = Counter(choose(signals, 1, seed=seed, noise="power", sharpness=3.0) for seed in range(2000))
    assert first["b"] == pytest.approx(2000 * 8 / 9, abs=60)  # deviation 14
    assert choose(pool([3, 1, 2]), 3, noise="softrank", sharpness=1e6) == "acb"
    alike = Counter(choose(pool([7.0, 7.0, 0.0]), 1, seed=seed, noise="softrank") for seed in range(3000))
    assert alike["a"] == pytest.approx(3000 * 3 / 7, abs=110)  # ranks 1, 1, 3: odds 3 to 3 to 1
    assert alike["c"] == pytest.approx(3000 / 7, abs=80)


def test_power_takes_zeros_last_and_no_negative_score() -> None:
    assert set(choose(pool([0, 0, 1, 2]), 2, noise="power")) == {"c", "d"}
    with pytest.raises(StrategyError, match="the smallest is -1"):
        perturbed(torch.tensor([-1.0, 2.0]), "power", 1.0, seeded())


# --- near-duplicates -----------------------------------------------------------------------------

LINE = [[0.0], [0.1], [0.2], [5.0], [5.1], [10.0]]


def test_typical_distance_by_hand() -> None:
    """0 and 2, each with each, itself included: distances 0, 2, 2, 0, a mean square of 2."""
    assert typical_distance(torch.tensor([[0.0], [2.0]])) == pytest.approx(2**0.5)
    many = torch.randn(3000, 4, generator=seeded()) + 100.0
    expected = torch.cdist(many.double(), many.double()).square().mean().sqrt()
    assert typical_distance(many) == pytest.approx(float(expected), rel=1e-9)


def test_near_duplicates_of_a_better_one_step_back_and_come_at_the_end() -> None:
    """Threshold .15: b is .1 from a; c is .2 from a and stays, for b is not in the batch; e is .1 from d."""
    features = torch.tensor(LINE)
    assert without_copies(features, range(6), features[:0], 0.15, 4) == [0, 2, 3, 5]
    assert without_copies(features, range(6), features[:0], 0.15, 6) == [0, 2, 3, 5, 1, 4]
    assert without_copies(features, range(6), torch.tensor([[9.9]]), 0.15, 4) == [0, 2, 3, 1]


def test_near_duplicates_by_the_switch() -> None:
    """The line's typical distance is 5.3; .03 of it is .16."""
    signals = pool([6, 5, 4, 3, 2, 1], LINE)
    assert choose(signals, 4, apart=0.03) == "acdf"
    assert choose(signals, 4) == "abcd"
    known = Signals(("l",), {"embedding": torch.tensor([[0.0]])})
    assert choose(signals, 3, known, apart=0.03) == "cdf"


def test_copies_are_found_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lossrank.strategies.spread.BLOCK", 2)
    features = torch.tensor(LINE)
    assert without_copies(features, range(6), features[:0], 0.15, 4) == [0, 2, 3, 5]


# --- diversity -----------------------------------------------------------------------------------


def test_k_center_in_the_top_of_the_ranking() -> None:
    """The best first, then of the four best (2 x 2) the farthest from it: d. f, farther still, is no candidate."""
    signals = pool([6, 5, 4, 3, 2, 1], LINE)
    assert choose(signals, 2, diversity="k-center", top=2) == "ad"
    assert choose(signals, 2, diversity="k-center", top=3) == "af"
    assert choose(signals, 2, diversity="k-center", top=1) == "ab"


def test_k_means_in_the_top_of_the_ranking_draws_by_squared_distance() -> None:
    """From a at 0: .1, .2 and 5 squared are .01, .04 and 25: d in 99.8 % of the draws."""
    signals = pool([6, 5, 4, 3, 2, 1], LINE)
    drawn = Counter(choose(signals, 2, seed=seed, diversity="k-means++", top=2) for seed in range(200))
    assert drawn["ad"] >= 196


@pytest.mark.parametrize("diversity", ["k-center", "k-means++"])
def test_all_together_the_whole_pool_can_be_taken(diversity: str) -> None:
    signals = pool([1.0] * 9, [[1.0, 2.0]] * 9)
    for n in (1, 5, 9):
        chosen = choose(signals, n, guard=0.2, noise="softrank", apart=0.5, diversity=diversity, top=3)
        assert len(set(chosen)) == n


# --- what is read and refused --------------------------------------------------------------------


def test_columns_follow_the_switches() -> None:
    assert Entropy().needs == {"uncertainty"}
    assert Entropy(guard=0.1, noise="softrank").needs == {"uncertainty"}
    assert Entropy(diversity="k-center").needs == {"uncertainty", "embedding"}
    assert Entropy(diversity="k-center").needs_labelled == frozenset()
    assert Entropy(apart=0.3).needs_labelled == {"embedding"}
    assert Bald(apart=0.3).needs == {"disagreement", "embedding"}
    assert Entropy.needs == {"uncertainty"}


@pytest.mark.parametrize(
    ("switches", "why"),
    [
        ({"guard": 1.5}, "guard must be a finite number >= 0 and <= 1, got 1.5"),
        ({"apart": -1.0}, "apart must be a finite number >= 0, got -1.0"),
        ({"top": 0.5}, "top must be a finite number >= 1, got 0.5"),
        ({"noise": "gauss"}, "unknown noise 'gauss': possible are none, power, softmax, softrank"),
        ({"diversity": "kcenter"}, "did you mean k-center"),
        ({"noise": "softmax", "sharpness": 0.0}, "sharpness must be a finite number > 0, got 0.0"),
    ],
)
def test_switches_that_make_no_sense_are_refused(switches: dict[str, Any], why: str) -> None:
    with pytest.raises(StrategyError, match=why):
        Entropy(**switches)


def test_nan_and_widths_are_refused() -> None:
    signals = pool([1.0, 2.0], [[0.0], [float("nan")]])
    with pytest.raises(StrategyError, match="'embedding' is NaN for 1 of 2 samples: b"):
        choose(signals, 1, diversity="k-center")
    with pytest.raises(StrategyError, match=r"\[1\] wide, of the labelled \[2\]"):
        choose(pool([1.0], [[0.0]]), 1, Signals(("l",), {"embedding": torch.zeros(1, 2)}), apart=0.1)


# --- wrappers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Foreign(Strategy):
    """Another package's strategy: a score, and a rule of its own."""

    name: ClassVar[str] = "foreign"
    needs: ClassVar[frozenset[str]] = frozenset({"summary"})
    score: ClassVar[str | None] = "summary"

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> list[str]:
        return signals.top("summary", n)


def test_refined_gives_any_score_the_switches() -> None:
    signals = Signals(("b", "c", "a"), {"summary": torch.tensor([3.0, 2.0, 1.0]), "embedding": torch.zeros(3, 1)})
    refined = Refined(of=Foreign(), guard=0.4)
    assert (refined.needs, refined.score) == ({"summary"}, "summary")
    assert refined.select(signals, NONE, 2, seeded()) == ["c", "a"]
    assert Refined(of=Foreign(), apart=0.1).needs == {"summary", "embedding"}
    assert Refined(of=L2RAL()).predictor() == L2RAL().plan
    with pytest.raises(StrategyError, match="'core-set' has none"):
        Refined(of=CoreSet())


def test_subsample_chooses_the_best_of_a_random_subset() -> None:
    """The best of 4 among 10 is the best of all in 40 % of the draws; never smaller than what is asked for."""
    signals = pool([float(row) for row in range(10)])
    some = Subsample(of=Entropy(), candidates=4)
    first = Counter(some.select(signals, NONE, 1, seeded(seed))[0] for seed in range(1000))
    assert first["j"] == pytest.approx(400, abs=60)  # deviation 15
    assert first["c"] == 0  # three are below it, so it never leads four
    assert sorted(some.select(signals, NONE, 10, seeded())) == list("abcdefghij")
    assert some.select(signals, NONE, 2, seeded(3)) == some.select(
        signals.take(list(range(9, -1, -1))), NONE, 2, seeded(3)
    )


def test_recipes_name_what_a_wrapper_is_around() -> None:
    def build(strategy: str, options: dict[str, Any], **more: Any) -> Any:
        return build_strategy(recipe_from({"strategy": strategy, "strategy_options": options, **more}))

    assert build("l2r-al", {"diversity": "k-center", "top": 4}).diversity == "k-center"
    assert build("subsample", {"of": {"name": "badge", "bias": True}, "candidates": 7}) == Subsample(Badge(True), 7)
    refined = build("refined", {"of": "l2r-al", "apart": 0.3}, predictor={"hidden": 7})
    assert refined.of.plan.hidden == 7
    assert refined.needs_labelled == {"embedding"}
    compared = {"entropy": {"guard": 0.1, "apart": 0.2}}
    assert build("entropy", {"apart": 0.3}, per_strategy=compared) == Entropy(guard=0.1, apart=0.3)
    assert build("refined", {"of": "entropy"}, per_strategy=compared).of == Entropy(guard=0.1, apart=0.2)
    for wrong in (3, {"bias": True}):
        with pytest.raises(ConfigError, match="expected a strategy's name"):
            build("refined", {"of": wrong})
