"""Cross-fitted evidence, and what `auto` makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lossrank import experiment, recipe_from, rounds, run
from lossrank.datasets.base import hash_share
from lossrank.errors import StrategyError
from lossrank.experiment import Watcher
from lossrank.folder import load_weights
from lossrank.health import Estimate, Evidence, Health, _attenuation, _estimate, _resampled, deal
from lossrank.ranking import spearman
from lossrank.strategies import Auto, CoreSet


def test_what_no_score_chose_is_held_out_once_and_by_the_same_fold_for_good() -> None:
    drawn, scored = [f"s{n}" for n in range(90)], {f"hard{n}" for n in range(200)}
    hands = deal([*drawn, *scored], scored, 3)
    assert sorted(i for hand in hands.values() for i in hand) == sorted(drawn)
    assert all(20 <= len(hand) <= 40 for hand in hands.values()), "about a third each"
    more = deal([*reversed(drawn), "later"], set(), 3)
    assert all(set(hands[fold]) <= set(more[fold]) for fold in hands), "its learner has never seen them"


def test_a_pool_that_was_cut_by_hash_is_dealt_evenly_too() -> None:
    cut = sorted((f"img-{n}" for n in range(2000)), key=hash_share)[:200]
    assert all(45 <= len(hand) <= 90 for hand in deal(cut, set(), 3).values())


def test_with_few_drawn_labels_all_are_held_out() -> None:
    labelled = [f"s{n}" for n in range(40)]
    assert sum(map(len, deal(labelled, set(labelled[:21]), 3).values())) == 40, "19 were drawn"
    assert sum(map(len, deal(labelled, set(labelled[:20]), 3).values())) == 20


def test_what_small_hands_lose_of_spearman_is_given_back() -> None:
    # 1 2 4 3 against 1 2 3 4: Spearman .8, Kendall 2/3, so 3 (.8 - 2/3) / (4 - 2) = .2 is lost
    assert _attenuation([torch.tensor([1.0, 2.0, 4.0, 3.0])], [torch.tensor([1.0, 2.0, 3.0, 4.0])]) == pytest.approx(
        0.2
    )
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1000, 7, generator=draw)
    y = 0.8 * x + 0.6 * torch.randn(1000, 7, generator=draw)  # of a population whose Spearman is .786
    found = spearman(x, y).mean()
    assert found == pytest.approx(0.71, abs=0.02)
    assert found + _attenuation(list(x), list(y)) == pytest.approx(0.786, abs=0.02)
    assert _attenuation([torch.zeros(3)], [torch.arange(3.0)]) == 0.0


def test_spearman_is_the_mean_over_hands_weighted_by_size() -> None:
    # Hands of 4 and 2: 0.8 (one swap of neighbours among four) and -1; (4 * 0.8 - 2) / 6 = 0.2.
    scores = [torch.tensor([1.0, 2.0, 4.0, 3.0]), torch.tensor([1.0, 2.0])]
    true = [torch.tensor([10.0, 20.0, 30.0, 40.0]), torch.tensor([9.0, 8.0])]
    draws = [torch.arange(4).repeat(200, 1), torch.arange(2).repeat(200, 1)]
    values = _resampled(spearman, scores, true, draws)
    assert values.tolist() == pytest.approx([0.2] * 201)
    constant = [torch.zeros(4), torch.tensor([1.0, 2.0])]
    assert _resampled(spearman, constant, true, draws)[0] == pytest.approx(-1.0), "a hand without order has no weight"


def test_the_interval_holds_four_fifths_of_the_resamples() -> None:
    found = _estimate(torch.cat([torch.tensor([0.5]), torch.linspace(0, 1, 101)]).double())
    assert found is not None
    assert (found.value, round(found.low, 3), round(found.high, 3)) == (0.5, 0.1, 0.9)
    assert _estimate(torch.tensor([float("nan"), 1.0])) is None
    moved = _estimate(torch.cat([torch.tensor([0.5]), torch.linspace(0, 1, 101)]).double(), 0.2)
    assert moved is not None
    assert (moved.value, round(moved.low, 3), moved.high) == (0.7, 0.3, 1.0), "and no further than 1"


def evidence(ours: tuple[float, float], theirs: tuple[float, float], difference: float) -> Evidence:
    """Value and low end of Spearman for predictor and uncertainty, and the low end of their difference."""
    scores = {
        name: Health(Estimate(value, low, 1.0), None)
        for name, (value, low) in (("predicted_loss", ours), ("uncertainty", theirs))
    }
    return Evidence(60, 3, 0.5, 1.0, scores, Estimate(difference + 0.1, difference, difference + 0.2))


@pytest.mark.parametrize(
    ("found", "chosen", "reason"),
    [
        (None, "random", "fewer than 30 labels"),
        (evidence((0.5, 0.3), (0.55, 0.3), -0.1), "lossrank", "lossrank ranks well enough: lossrank Spearman 0.50"),
        (evidence((0.5, 0.3), (0.9, 0.8), 0.2), "entropy", "uncertainty ranks better, by 0.30 (0.20 to 0.40)"),
        (evidence((0.1, 0.05), (0.3, 0.1), -0.1), "entropy", "uncertainty ranks better: lossrank"),
        (evidence((0.4, -0.1), (0.1, 0.0), -0.5), "random", "neither score ranks well enough (Spearman 0.2)"),
        (evidence((0.3, 0.1), (0.1, 0.0), 0.2), "lossrank", "lossrank ranks well enough"),
    ],
)
def test_what_auto_decides_and_why(found: Evidence | None, chosen: str, reason: str) -> None:
    strategy, why = Auto().decided(found)
    assert strategy.name == chosen
    assert reason in why


def test_auto_needs_a_score_and_folds() -> None:
    with pytest.raises(StrategyError, match="'core-set' has none"):
        Auto(of=CoreSet())
    with pytest.raises(StrategyError, match="auto: folds must be an integer >= 2, got 1"):
        Auto(folds=1)


def test_a_run_by_auto_says_each_round_what_it_chose_by(tmp_path: Path) -> None:
    train = {"epochs": 4, "batch_size": 16, "lr": 0.05}
    mapping = {"strategy": "auto", "train": train, "strategy_options": {"folds": 2}, "model": {"options": {"width": 4}}}
    rows = run(recipe_from({**mapping, "budget": {"initial": 20, "step": 20, "final": 60}}), tmp_path / "run")
    assert rows[0]["chosen_by"] == "random"
    assert "fewer than 30 labels" in rows[0]["reason"]
    health = rows[1]["health"]
    assert (health["samples"], health["folds"], sorted(health["scores"])) == (40, 2, ["predicted_loss", "uncertainty"])
    assert rows[1]["reason"].startswith(
        {"lossrank": "lossrank", "entropy": "uncertainty", "random": "chance"}[rows[1]["chosen_by"]]
    )


def test_the_learners_of_the_folds_outlive_a_run(tmp_path: Path) -> None:
    train = {"epochs": 2, "batch_size": 16, "lr": 0.05}
    mapping = {"strategy": "auto", "train": train, "strategy_options": {"folds": 2}, "model": {"options": {"width": 4}}}
    recipe = recipe_from({**mapping, "budget": {"initial": 40, "step": 20, "final": 80}})
    whole = run(recipe, tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop(row: dict[str, object]) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        run(recipe, tmp_path / "broken", watcher=Watcher(on_row=stop))
    again = run(recipe, tmp_path / "broken")
    assert [row.get("health") for row in again] == [row.get("health") for row in whole]
    kept = load_weights(next((tmp_path / "whole" / "weights").iterdir()))
    assert {name.split(".")[1] for name in kept if name.startswith("fold.")} == {"0", "1"}


def test_a_fold_learns_in_as_many_steps_without_what_it_holds_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, seen = rounds.learn, []

    def watched(of: Any, learner: Any, labels: Any, number: int, watcher: Any, repeated: Sequence[str] = ()) -> float:
        seen.append((list(labels), list(repeated)))
        return learn(of, learner, labels, number, watcher, repeated)

    monkeypatch.setattr(rounds, "learn", watched)
    fit, lengths = experiment.train, []

    def counted(model: Any, task: Any, lesson: Any, *rest: Any) -> float:
        lengths.append(len(lesson.ids))
        return fit(model, task, lesson, *rest)

    monkeypatch.setattr(experiment, "train", counted)
    train = {"epochs": 1, "batch_size": 16}
    mapping = {"strategy": "auto", "train": train, "strategy_options": {"folds": 2}, "model": {"options": {"width": 4}}}
    run(recipe_from({**mapping, "budget": {"initial": 40, "step": 10, "final": 50}}), tmp_path / "run")
    (whole, _), *folds = seen[:3]
    assert lengths[:3] == [40, 40, 40]
    assert all(len(labels) < 40 for labels, _ in folds)
    assert all(set(repeated) <= set(labels) < set(whole) for labels, repeated in folds)
    assert set(folds[0][0]) | set(folds[1][0]) == set(whole), "what one holds out the other learns from"
