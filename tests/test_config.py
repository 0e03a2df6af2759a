"""Recipes: read, checked, compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lossrank.assembly import build_strategy
from lossrank.config import Recipe, differences, dump_recipe, load_recipe, recipe_from
from lossrank.errors import ConfigError

RECIPES = sorted((Path(__file__).parents[1] / "recipes").rglob("*.yaml"))


def test_an_empty_recipe_is_the_default() -> None:
    assert recipe_from({}) == Recipe()


def test_a_recipe_survives_being_written_and_read() -> None:
    recipe = recipe_from({"seed": 3, "model": {"options": {"width": 8}}, "train": {"milestones": [2, 5]}})
    assert recipe_from(yaml.safe_load(dump_recipe(recipe))) == recipe


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("seed: 1\ntrain: {epochs: 7, lr: 0.5}\n")
    recipe = load_recipe(path, {"train.epochs": 9, "data": "here"})
    assert (recipe.seed, recipe.train.epochs, recipe.train.lr, recipe.data) == (1, 9, 0.5, "here")


def test_rounds_count_the_training_with_all_the_labels() -> None:
    assert recipe_from({"budget": {"initial": 40, "step": 40, "final": 240}}).rounds == 6
    assert recipe_from({"budget": {"initial": 40, "step": 40, "final": 250}}).rounds == 7
    assert recipe_from({"budget": {"initial": 40, "step": 40, "final": 40}}).rounds == 1


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"trian": {}}, "did you mean train"),
        ({"train": {"epoch": 3}}, "did you mean train.epochs"),
        ({"train": {"epochs": "many"}}, "train.epochs"),
        ({"task": "knitting"}, "classification"),
        ({"train": 3}, "fields of its own"),
        ({"budget": {"initial": 50, "final": 40}}, "budget.final must be an integer >= 50, got 40"),
        ({"budget": {"step": 0}}, "budget.step must be an integer >= 1, got 0"),
        ({"train": {"lr": 0.0}}, "train.lr must be a finite number > 0, got 0.0"),
        ({"train": {"lr": 10**400}}, "a value of the wrong kind"),
        ({"label_noise": 10**400}, "a value of the wrong kind"),
        ({"task": None}, "recipe field 'task' must not be null"),
        ({"model": {"name": None}}, r"recipe field 'model\.name' must not be null"),
        ({"long_tail": None}, "recipe field 'long_tail' must not be null"),
    ],
)
def test_a_bad_recipe_says_what_is_possible(mapping: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe_from(mapping)


def test_a_field_with_nothing_behind_it_is_empty(tmp_path: Path) -> None:
    names = ("strategy_options", "per_strategy", "predictors", "task_options", "train")
    (tmp_path / "r.yaml").write_text("".join(f"{name}:\n" for name in names) + "model:\n  taps:\n  options:\n")
    assert load_recipe(tmp_path / "r.yaml") == Recipe()


def test_a_missing_or_strange_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no recipe at"):
        load_recipe(tmp_path / "none.yaml")
    path = tmp_path / "list.yaml"
    path.write_text("- 1\n")
    with pytest.raises(ConfigError, match="got a list"):
        load_recipe(path)


def test_differences_name_the_field_and_leave_out_what_may_move() -> None:
    old = recipe_from({"data": "a", "train": {"epochs": 3, "device": "cpu"}})
    new = recipe_from({"data": "b", "train": {"epochs": 4, "device": "auto"}})
    assert differences(old, new) == {"train.epochs": (3, 4)}
    assert differences(old, old) == {}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_shipped_recipe_is_read(path: Path) -> None:
    assert load_recipe(path).rounds > 1


def test_the_papers_cifar10_recipe_has_the_papers_numbers() -> None:
    recipe = load_recipe(next(p for p in RECIPES if p.parent.name == "paper" and p.name == "cifar10.yaml"))
    budget, train = recipe.budget, recipe.train
    assert (budget.initial, budget.step, budget.final, budget.candidates) == (1000, 1000, 10_000, 10_000)
    assert (recipe.rounds, budget.warm_start) == (10, True)
    assert (train.epochs, train.batch_size, train.lr, train.milestones) == (150, 64, 0.1, [120])
    assert (train.momentum, train.weight_decay, train.padding, train.flip) == (0.9, 5e-4, 2, True)


def test_a_recipe_holds_a_plan_for_each_strategy_it_compares() -> None:
    """The paper's: the GRU sorter on lists of 64 for L2R-AL, Adam and margin pairs for LL4AL; the command line wins."""
    path = Path(__file__).parents[1] / "recipes" / "paper" / "cifar10.yaml"
    plan = build_strategy(load_recipe(path)).predictor()
    assert plan is not None
    assert (plan.taps, plan.loss, plan.list_size, plan.detach_after) == ("last", "spearman-gru", 64, 0.0)
    other = build_strategy(load_recipe(path, {"strategy": "ll4al", "predictor.lr": 0.5})).predictor()
    assert other is not None
    assert (other.taps, other.loss, other.optimizer, other.lr) == ("all", "margin", "adam", 0.5)


BOMB = "[&a0 [x, x], " + ", ".join(f"&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)) + "]"


@pytest.mark.parametrize("field", ["seed", "task_options", "budget", "model"])
@pytest.mark.parametrize("quoted", [False, True], ids=["yaml", "a text that the parser reads as YAML"])
def test_aliases_that_stand_for_more_than_any_recipe_needs_are_refused(
    tmp_path: Path, field: str, quoted: bool
) -> None:
    inner = {"budget": "initial", "model": "taps"}.get(field)
    value = json.dumps(BOMB) if quoted else BOMB
    (tmp_path / "recipe.yaml").write_text(f"{field}: " + (f"{{{inner}: {value}}}" if inner else value))
    with pytest.raises(ConfigError, match="must hold at most 100,000 values after its aliases are expanded"):
        load_recipe(tmp_path / "recipe.yaml")


def test_aliases_of_a_recipe_are_read(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("task_options: {a: &a [1, 2], b: *a}\nmodel: {taps: ['*']}")
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert (recipe.task_options, recipe.model.taps) == ({"a": [1, 2], "b": [1, 2]}, ["*"])
