"""One contract over every strategy, and one answer by hand for each."""

from __future__ import annotations

import pytest
import torch

from lossrank.errors import StrategyError
from lossrank.signals import COLUMNS, Signals
from lossrank.strategies import (
    L2RAL,
    LL4AL,
    STRATEGIES,
    CoreSet,
    Entropy,
    LossRank,
    Random,
    Strategy,
    check_choice,
)

IDS = ("n-907", "n-12", "n-55", "n-3", "n-444", "n-81", "n-200", "n-6")  # neither dense nor sorted
every = pytest.mark.parametrize("strategy", [kind() for kind in STRATEGIES.values()], ids=list(STRATEGIES))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def signals(ids: tuple[str, ...] = IDS) -> Signals:
    """Columns in which a sample's values depend on its id alone."""
    number = torch.tensor([int(i.split("-")[1]) for i in ids], dtype=torch.float32)
    probabilities = torch.stack([number / 1000, 1 - number / 1000], 1)
    embedding = torch.stack([number, number % 7, number % 5], 1)
    return Signals(
        ids,
        {
            "predicted_loss": number,
            "uncertainty": number.sqrt(),
            "embedding": embedding,
            "summary": embedding,
            "probabilities": probabilities,
        },
    )


def labelled(n: int = 2) -> Signals:
    return Signals(("l-1", "l-2")[:n], {"embedding": torch.tensor([[0.0, 0.0, 0.0], [5.0, 1.0, 2.0]])[:n]})


@every
@pytest.mark.parametrize("n", [1, 3, len(IDS)])
def test_n_distinct_ids_of_the_candidates(strategy: Strategy, n: int) -> None:
    check_choice(strategy.name, strategy.select(signals(), labelled(), n, seeded()), IDS, n)


@every
def test_the_order_of_the_pool_does_not_matter(strategy: Strategy) -> None:
    turned = strategy.select(signals(IDS[::-1]), labelled(), 3, seeded())
    assert turned == strategy.select(signals(), labelled(), 3, seeded())


@every
def test_the_same_seed_the_same_choice_and_the_global_generator_untouched(strategy: Strategy) -> None:
    before = torch.get_rng_state()
    assert strategy.select(signals(), labelled(), 4, seeded(1)) == strategy.select(signals(), labelled(), 4, seeded(1))
    assert torch.equal(before, torch.get_rng_state())


@every
@pytest.mark.parametrize("n", [0, -1, len(IDS) + 1])
def test_an_impossible_budget_is_refused(strategy: Strategy, n: int) -> None:
    with pytest.raises(StrategyError, match=f"asked to choose {n} samples; between 1 and the 8"):
        strategy.select(signals(), labelled(), n, seeded())


@every
def test_nothing_labelled_yet(strategy: Strategy) -> None:
    assert len(set(strategy.select(signals(), Signals(()), 3, seeded()))) == 3


@every
def test_nan_is_refused_with_its_id(strategy: Strategy) -> None:
    spoilt = signals()
    for column in strategy.needs:
        spoilt.columns[column][2] = float("nan")
    if strategy.needs:
        with pytest.raises(StrategyError, match="NaN for 1 of 8 samples: n-55"):
            strategy.select(spoilt, labelled(), 2, seeded())


@every
def test_a_strategy_is_a_frozen_value_that_says_what_it_needs(strategy: Strategy) -> None:
    assert type(strategy)() == strategy
    assert strategy.needs <= COLUMNS.keys()
    assert strategy.needs_labelled <= COLUMNS.keys()
    assert strategy.paper
    assert STRATEGIES[strategy.name] is type(strategy)
    with pytest.raises(AttributeError):
        strategy.plan = None  # type: ignore[attr-defined]


@pytest.mark.parametrize("strategy", [Entropy(), L2RAL(), LL4AL(), LossRank(diversity="none")])
def test_the_largest_score_is_asked_first(strategy: Strategy) -> None:
    assert strategy.select(signals(), labelled(), 3, seeded()) == ["n-907", "n-444", "n-200"]


def test_lossrank_takes_the_largest_and_then_what_differs_of_the_top() -> None:
    """Of the 8 largest the first, then the farthest from it (3 is 904 away), then the farthest from both (444)."""
    assert LossRank().select(signals(), labelled(), 3, seeded()) == ["n-907", "n-3", "n-444"]


def test_ties_go_by_id() -> None:
    flat = Signals(IDS, {"uncertainty": torch.ones(8)})
    assert Entropy().select(flat, Signals(()), 3, seeded()) == ["n-12", "n-200", "n-3"]


def test_random_draws_every_sample_equally_often() -> None:
    counts = dict.fromkeys(IDS, 0)
    for seed in range(400):
        for sample in Random().select(Signals(IDS), Signals(()), 2, seeded(seed)):
            counts[sample] += 1
    assert all(70 < count < 130 for count in counts.values()), counts  # 100 expected, standard deviation 8.7


def test_core_set_by_hand() -> None:
    """On a line, labelled at 0: the farthest is 10, then 4 (4 from 0, 6 from 10), then 7 (3 from either)."""
    line = Signals(("a", "b", "c", "d"), {"embedding": torch.tensor([[1.0], [10.0], [4.0], [7.0]])})
    known = Signals(("x",), {"embedding": torch.zeros(1, 1)})
    assert CoreSet().select(line, known, 4, seeded()) == ["b", "c", "d", "a"]
