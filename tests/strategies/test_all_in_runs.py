"""Every strategy through a real run: the budget is spent, a killed run continues to the same result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lossrank.config import Recipe, recipe_from
from lossrank.errors import StrategyError
from lossrank.experiment import Watcher
from lossrank.ledger import Ledger
from lossrank.runs import run
from lossrank.strategies import STRATEGIES

SMALL: dict[str, dict[str, Any]] = {
    "vaal": {"z": 4, "width": 2, "iterations": 2, "batch_size": 8, "enlarge": True},
    "bald": {"passes": 3},
    "subsample": {"of": "l2r-al", "candidates": 20},
    "refined": {"of": {"name": "tod"}, "apart": 0.1},
    "auto": {"least": 20, "folds": 2},
}
"""Options with which a strategy costs a test nothing."""


def recipe(strategy: str, **changes: Any) -> Recipe:
    """Three rounds on the digits; a model with dropout, which BALD needs."""
    return recipe_from(
        {
            "strategy": strategy,
            "strategy_options": SMALL.get(strategy, {}),
            "model": {"options": {"width": 2, "dropout": 0.2}},
            "train": {"epochs": 2, "batch_size": 16, "eval_batch_size": 128},
            "budget": {"initial": 20, "step": 5, "final": 30, "candidates": 40},
            **changes,
        }
    )


def asked(folder: Path) -> list[list[tuple[str, float | None]]]:
    with Ledger.open(folder / "ledger.sqlite") as ledger:
        return [[(choice.sample, choice.score) for choice in ledger.batch(number)] for number in range(3)]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_run_spends_its_budget_on_distinct_samples(name: str, tmp_path: Path) -> None:
    rows = run(recipe(name), tmp_path)
    assert [row["labelled"] for row in rows] == [20, 25, 30]
    batches = asked(tmp_path)
    assert len({sample for batch in batches for sample, _ in batch}) == 30
    ranked = STRATEGIES[name].score is not None and name != "auto"  # which may choose by chance, without a score
    assert ranked <= all(score is not None for _, score in batches[1])


@pytest.mark.parametrize("name", ["bald", "tod", "true-loss", "vaal"])
def test_a_column_it_makes_is_made_again_after_a_crash(name: str, tmp_path: Path) -> None:
    """Killed in the second round: its questions and their scores are those of a run that was not."""

    class StoppedError(Exception):
        pass

    def stop(stage: str) -> None:
        stages.append(stage)
        if stages.count("select") == 2:
            raise StoppedError

    run(recipe(name), tmp_path / "whole")
    stages: list[str] = []
    with pytest.raises(StoppedError):
        run(recipe(name), tmp_path / "broken", watcher=Watcher(on_stage=stop))
    assert asked(tmp_path / "broken")[2] == []
    run(recipe(name), tmp_path / "broken")
    assert asked(tmp_path / "broken") == asked(tmp_path / "whole")


def test_a_model_without_dropout_is_told_so_and_the_first_labels_are_kept(tmp_path: Path) -> None:
    with pytest.raises(StrategyError, match=r"bald needs a model with dropout.*dropout: 0\.2"):
        run(recipe("bald", model={"options": {"width": 2}}), tmp_path)
    assert [len(batch) for batch in asked(tmp_path)] == [20, 0, 0]
