"""What public functions require of their arguments: a string is no list of letters, a count is a whole number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lossrank import Ledger, LossPredictor, Pool, Project, Recipe, attach
from lossrank.config import BudgetRecipe, TrainRecipe
from lossrank.errors import ConfigError, LedgerError
from lossrank.ranking.pretrain import pretrain_command
from lossrank.requirements import require_count, require_number, require_strings
from lossrank.select_commands import select_once
from lossrank.sweep import sweep


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    (tmp_path / "pictures").mkdir()
    for name in "abc":
        Image.new("RGB", (4, 4)).save(tmp_path / "pictures" / f"{name}.png")
    with Project.init(tmp_path / "project", tmp_path / "pictures", names=["x", "y"]) as made:
        yield made


def test_the_rules() -> None:
    assert require_strings("ids", ("a", "b")) == ["a", "b"]
    assert require_strings("ids", {"a": 1}) == ["a"]
    assert require_count("n", np.int64(3)) == 3
    assert require_number("lr", np.float32(0.5), 0, above=True) == 0.5
    for bad in (0, -1, 1.0, True, "1", None):
        with pytest.raises(ConfigError, match="n must be an integer >= 1, got"):
            require_count("n", bad)
    for bad in (0, -1, math.nan, math.inf, 2, "1", None, True):
        with pytest.raises(ConfigError, match=r"lr must be a finite number > 0 and <= 1, got"):
            require_number("lr", bad, 0, 1, above=True)


IDS: dict[str, Callable[[Project, Any], object]] = {
    "Ledger.add": lambda project, ids: project.ledger.add(ids, "test"),
    "Ledger.skip": lambda project, ids: project.ledger.skip(ids, "test"),
    "Ledger.retire": lambda project, ids: project.ledger.retire(ids, "test"),
    "Ledger.undo": lambda project, ids: project.ledger.undo(ids, "test"),
    "Project.skip": lambda project, ids: project.skip(ids, "test"),
    "Project.retire": lambda project, ids: project.retire(ids, "test"),
    "Project.undo": lambda project, ids: project.undo(ids),
}


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("bad", ["ab", b"ab", 7, [1], ["a.png", None]], ids=repr)
def test_ids_are_a_list_of_strings(project: Project, name: str, bad: Any) -> None:
    before = list(project.ledger.history())
    with pytest.raises(ConfigError, match="ids must be a list of strings, got"):
        IDS[name](project, bad)
    assert list(project.ledger.history()) == before


@pytest.mark.parametrize("bad", [["a"], ["ab"], "ab", [("a",)], [(1, None)], [("a", "0.5")], {"a": 1.0}], ids=repr)
def test_questions_are_pairs_of_id_and_score(tmp_path: Path, bad: Any) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(ConfigError, match=r"choices must be a list of \(id, score\)"):
            ledger.ask(0, bad, "test")
        assert ledger.batches() == 0


def test_a_sample_that_was_never_asked_cannot_be_skipped(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.ask(0, [("a", None)], "test")
        with pytest.raises(LedgerError, match="1 samples were never asked and cannot be skipped: b"):
            ledger.skip(["a", "b"], "dark")
        assert ledger.skipped() == {}


def test_names_and_counts_of_a_project(project: Project, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"names must be a list of strings, got 'cat,dog'"):
        Project.init(tmp_path / "other", tmp_path / "pictures", names="cat,dog")
    with pytest.raises(ConfigError, match="initial must be an integer >= 1, got 0"):
        Project.init(tmp_path / "other", tmp_path / "pictures", names=["a", "b"], initial=0)
    assert not (tmp_path / "other").exists()
    with pytest.raises(ConfigError, match="n must be an integer >= 1, got 0"):
        project.select(0)


COUNTS: dict[str, tuple[Callable[[Any], object], str]] = {
    "fit(steps)": (lambda bad: fitted(steps=bad), "steps"),
    "fit(list_size)": (lambda bad: fitted(list_size=bad), "list_size"),
    "fit(lists)": (lambda bad: fitted(lists=bad), "lists"),
    "select(n)": (lambda bad: fitted().select([(["a", "b"], torch.rand(2, 3))], bad), "n"),
    "Pool.batches": (lambda bad: Pool(torch.zeros(2, 1), ["a", "b"]).batches(batch_size=bad), "batch_size"),
    "sweep(processes)": (lambda bad: sweep([], processes=bad), "jobs"),
    "train.epochs": (lambda bad: Recipe(train=TrainRecipe(epochs=bad)), "train.epochs"),
    "budget.step": (lambda bad: Recipe(budget=BudgetRecipe(step=bad)), "budget.step"),
    "pretrain": (lambda bad: pretrain_command(4, threads=bad), "threads"),
    "select L U": (lambda bad: select_once(Path("l"), Path("u"), Path("o.csv"), n=bad), "n"),
}


def fitted(**options: Any) -> LossPredictor:
    """A predictor that was fitted for one step."""
    predictor = attach(torch.nn.Sequential(torch.nn.Linear(3, 2)), "0")
    batches = [(torch.rand(8, 3), torch.zeros(8, dtype=torch.long))]
    loss = torch.nn.functional.cross_entropy
    predictor.fit(batches, lambda out, y: loss(out, y, reduction="none"), **{"steps": 1, "list_size": 4, **options})
    return predictor


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("bad", [0, -1, 1.5, "3"], ids=repr)
def test_a_count_is_a_whole_number_of_at_least_1(name: str, bad: Any) -> None:
    call, argument = COUNTS[name]
    with pytest.raises(ConfigError, match=rf"{argument} must be an integer >= 1, got"):
        call(bad)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda bad: fitted(lr=bad), "lr"),
        (lambda bad: Recipe(train=TrainRecipe(lr=bad)), r"train\.lr"),
        (lambda bad: Recipe(train=TrainRecipe(clip=bad)), r"train\.clip"),
    ],
    ids=["fit(lr)", "train.lr", "train.clip"],
)
@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, "0.1"], ids=repr)
def test_a_rate_is_a_finite_number_above_0(call: Callable[[Any], object], argument: str, bad: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{argument} must be a finite number > 0, got"):
        call(bad)
