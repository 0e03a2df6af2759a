"""A project whose recipe is edited between two commands: it goes on, and says what starts from scratch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from small_project import CLASSES, Labelling

from lossrank import Project
from lossrank.checkpoint import load_checkpoint
from lossrank.cli import main
from lossrank.experiment import Watcher, start
from lossrank.project.table import Table
from lossrank.restore import restore

Make = Callable[..., Labelling]


def logits(made: Labelling) -> dict[str, np.ndarray[Any, Any]]:
    """What the restored model of the present recipe says of the first eight pictures, by class."""
    with Project.open(made.folder) as project:
        table = Table(project.layout, project.recipe(), project.ledger, Watcher())
        learner = start(table.experiment)
        assert table.checkpoint is not None
        restore(table.experiment, learner, table.checkpoint, renamed=table.renamed)
        batch = next(table.experiment.pool.batches(table.experiment.pool.ids[:8], transform=table.experiment.normalise))
        learner.model.eval()
        with torch.no_grad():
            outputs = learner.model(batch.inputs).numpy()
    return dict(zip(table.experiment.outputs, outputs.T, strict=True))


EDITS = {
    "to a strategy with a predictor": ("entropy", {"strategy": "auto"}, "the loss predictor starts from scratch"),
    "to one without a predictor": ("auto", {"strategy": "core-set"}, "nothing starts from scratch"),
    "back to a predictor": ("core-set", {"strategy": "lossrank"}, "the loss predictor starts from scratch"),
    "width of the predictor": (
        "lossrank",
        {"predictors": {"lossrank": {"hint_steps": 5, "steps": 5, "passes": 1, "hidden": 7}}},
        "predictor.hidden was 128 and is 7: the loss predictor starts from scratch",
    ),
    "number of folds": (
        "auto",
        {"per_strategy": {"auto": {"folds": 3, "least": 12}}},
        "folds were 2 and are 3: the cross-validated models start from scratch",
    ),
    "another model": (
        "auto",
        {"model": {"name": "resnet18_cifar", "options": {"width": 2}}},
        "model.name was 'small_cnn' and is 'resnet18_cifar'",
    ),
    "width of the model": ("lossrank", {"model__options": {"width": 3}}, "the model starts from scratch"),
}


# With --more nothing new was answered, so that the edit alone is the reason for another round.
CALLS = [*((edit, place % 2 == 0) for place, edit in enumerate(EDITS)), ("to a strategy with a predictor", False)]


@pytest.mark.parametrize(("edit", "more"), CALLS)
def test_select_goes_on_after_an_edit_and_says_what_starts_from_scratch(
    labelling: Make, capsys: pytest.CaptureFixture[str], edit: str, more: bool
) -> None:
    before, changes, note = EDITS[edit]
    made = labelling()
    made.recipe(strategy=before)
    assert made.select() == 0
    made.answer()
    assert made.select() == 0  # trains the first round and asks four
    if not more:
        made.answer()
    made.recipe(**changes)
    capsys.readouterr()
    assert made.select(*(["--more"] if more else [])) == 0
    assert note in capsys.readouterr().out
    rounds, batches = made.rows("rounds"), made.rows("batches")
    assert len(rounds) == 2
    assert any(note in line for line in rounds[-1]["notes"])
    strategy = changes.get("strategy", before)
    decided = {"auto": ("lossrank", "entropy", "random")}.get(strategy, (strategy,))
    assert rounds[-1]["chosen_by"] in decided
    assert batches[-1]["chosen_by"] == rounds[-1]["chosen_by"]
    assert batches[-1]["round"] == 1
    assert batches[-1]["reason"] == rounds[-1]["reason"] == made.reasons()[-1]
    assert len(batches[-1]["questions"]) == 4
    made.answer()
    assert made.select() == 0, "and on from there"
    assert len(made.rows("rounds")[-1]["notes"]) == 0 or strategy == "core-set"


def test_options_of_the_task_that_change_start_the_model_from_scratch(
    labelling: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = labelling("regression")
    made.recipe(strategy="random")
    assert made.select() == 0
    made.answer()
    assert made.select() == 0
    for options in ({"loss": "huber"}, {"uncertainty": "ensemble", "draws": 2}):
        made.recipe(task_options=options)
        assert made.select("--more") == 0
        out = capsys.readouterr().out
        assert all(f"task_options.{name} was" in out for name in options)
        assert "the model starts from scratch" in out


def trained(labelling: Make, strategy: str = "entropy") -> Labelling:
    made = labelling()
    made.recipe(strategy=strategy)
    assert made.select() == 0
    made.answer()
    assert made.select() == 0
    return made


def test_classes_in_another_order_keep_their_weights_by_name(
    labelling: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = trained(labelling)
    before = logits(made)
    made.recipe(dataset_options__classes=list(reversed(CLASSES)))
    after = logits(made)
    assert list(after) == list(reversed(CLASSES))
    for name in CLASSES:
        np.testing.assert_allclose(after[name], before[name], atol=1e-5)
    assert made.select("--more") == 0
    assert "matched by name" in capsys.readouterr().out
    assert load_checkpoint(made.weights()).contents.outputs == list(reversed(CLASSES))  # type: ignore[union-attr]


def test_a_new_class_gets_new_weights_and_the_others_keep_theirs(
    labelling: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = trained(labelling, "auto")
    before = logits(made)
    made.recipe(dataset_options__classes=["violet", *CLASSES])
    after = logits(made)
    assert list(after) == ["violet", *CLASSES]
    for name in CLASSES:
        np.testing.assert_allclose(after[name], before[name], atol=1e-5)
    made.answer(dict.fromkeys(made.truth, "violet"))
    assert made.select() == 0
    out = capsys.readouterr().out
    assert "class 'violet' is new: its output starts from scratch" in out
    assert "the loss predictor starts from scratch" in out  # it reads a probability for each class
    assert made.rows("rounds")[-1]["class_histogram"]["violet"] == 4


def test_a_class_without_answers_can_be_removed(labelling: Make, capsys: pytest.CaptureFixture[str]) -> None:
    made = labelling(names=(*CLASSES, "never"))
    made.truth = {sample: name if name != "never" else "dark" for sample, name in made.truth.items()}
    made.recipe(strategy="entropy")
    assert made.select() == 0
    made.answer()
    assert made.select() == 0
    before = logits(made)
    made.recipe(dataset_options__classes=list(CLASSES))
    after = logits(made)
    for name in CLASSES:
        np.testing.assert_allclose(after[name], before[name], atol=1e-5)
    assert made.select("--more") == 0
    assert "class 'never' is no longer listed: its output is dropped" in capsys.readouterr().out


def test_a_removed_class_that_has_answers_is_an_error_with_the_ways_out(
    labelling: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = trained(labelling)
    history = (made.folder / "rounds.jsonl").read_bytes()
    made.recipe(dataset_options__classes=["dark", "grey", "bright"])
    assert made.select("--more") == 2
    message = capsys.readouterr().err
    assert "name classes that the recipe does not list: 'light': " in message
    for way_out in ("dataset_options.classes", "`renamed: {OLD: NEW}`", "lossrank revise", "lossrank retire"):
        assert way_out in message
    assert (made.folder / "rounds.jsonl").read_bytes() == history
    made.recipe(dataset_options__classes=list(CLASSES))
    assert made.select("--more") == 0


def test_a_renamed_class_keeps_its_answers_and_its_weights(labelling: Make, capsys: pytest.CaptureFixture[str]) -> None:
    made = trained(labelling)
    before = logits(made)
    with Project.open(made.folder) as project:
        light = {i for i, answer in project.ledger.labelled().items() if answer == "light"}
    assert light
    made.recipe(dataset_options__classes=["bright", "dark", "grey"], dataset_options__renamed={"light": "bright"})
    copy = shutil.copytree(made.folder, made.folder.with_name("copy"))  # a look at the weights renames answers too
    np.testing.assert_allclose(logits(Labelling(copy, made.truth))["bright"], before["light"], atol=1e-5)
    assert made.select("--more") == 0
    assert "have the new names of their classes" in capsys.readouterr().out
    with Project.open(made.folder) as project:
        labelled = project.ledger.labelled()
        assert {i for i, answer in labelled.items() if answer == "bright"} == light
        assert "light" in {event.value for event in project.ledger.history()}, "the old answers stay in the history"


@pytest.mark.parametrize("renamed", [{"light": "pale"}, {"dark": "grey"}, ["light"]])
def test_a_mapping_of_names_that_makes_no_sense_is_refused(
    labelling: Make, capsys: pytest.CaptureFixture[str], renamed: Any
) -> None:
    made = trained(labelling)
    made.recipe(dataset_options__renamed=renamed)
    assert made.select("--more") == 2
    assert "dataset_options.renamed" in capsys.readouterr().err


def test_the_scale_of_a_regression_stays_whatever_is_answered_or_corrected_later(labelling: Make) -> None:
    made = labelling("regression")
    made.recipe(strategy="random", task_options={})
    assert made.select() == 0
    made.answer()
    assert made.select() == 0
    first = load_checkpoint(made.weights()).contents
    assert first is not None
    with Project.open(made.folder) as project:
        values = list(project.ledger.labelled().values())
        assert first.scale == {"mean": [pytest.approx(np.mean(values))], "std": [pytest.approx(np.std(values))]}
        sample = next(iter(project.ledger.labelled()))
        project.revise({sample: 1e6})
    made.answer({sample: value + 5000 for sample, value in made.truth.items()})
    assert made.select() == 0
    later = load_checkpoint(made.weights()).contents
    assert later is not None
    assert later.scale == first.scale
    assert made.rows("rounds")[-1]["notes"] == []


def test_equal_first_answers_give_no_scale_that_later_ones_keep(
    labelling: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = labelling("regression")
    made.recipe(strategy="random", task_options={})
    assert made.select() == 0
    made.answer(dict.fromkeys(made.truth, 7.0))
    assert made.select() == 0
    made.answer()
    assert made.select() == 0
    assert "gave no scale: the model starts from scratch" in capsys.readouterr().out
    scale = load_checkpoint(made.weights()).contents.scale  # type: ignore[union-attr]
    assert scale is not None
    assert scale["std"][0] > 100


def test_joints_that_answers_were_given_for_cannot_change_places(
    labelling: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = labelling(size=32)
    folder = made.folder.with_name("pose")

    photos = str(made.folder.with_name("photos"))
    assert main(["init", "--task", "pose", "--joints", "head,foot", "--images", photos, "--out", str(folder)]) == 0
    pose = Labelling(folder, {i: [[3.0, 4.0, 2], [20.0, 30.0, 2]] for i in made.truth})
    pose.recipe(dataset_options__image_size=32, budget__initial=6, strategy="random", train={"epochs": 1})
    assert pose.select() == 0
    pose.answer()
    for joints in (["foot", "head"], ["head", "foot", "hand"], ["head"]):
        pose.recipe(dataset_options__joints=joints)
        assert pose.select() == 2
        assert "an answer holds a place for each joint" in capsys.readouterr().err
    pose.recipe(dataset_options__joints=["head", "sole"], dataset_options__renamed={"foot": "sole"})
    assert pose.select() == 0


def test_a_project_with_weights_of_version_0_1_goes_on_from_them(labelling: Make) -> None:
    made = trained(labelling, "lossrank")
    before = logits(made)
    save_file(load_file(made.weights()), made.weights())  # without what they are of
    assert load_checkpoint(made.weights()).contents is None
    np.testing.assert_allclose(logits(made)["dark"], before["dark"], atol=1e-6)
    assert made.select("--more") == 0
    assert load_checkpoint(made.weights()).contents is not None


def test_the_recipe_that_a_project_began_with_is_what_its_weights_state(labelling: Make) -> None:
    made = trained(labelling, "auto")
    contents = load_checkpoint(made.weights()).contents
    assert contents is not None
    recipe = yaml.safe_load((made.folder / "recipe.yaml").read_text())
    assert contents.task == "classification"
    assert contents.outputs == list(CLASSES)
    assert contents.model["name"] == recipe["model"]["name"]
    assert contents.strategy["name"] == "auto"
    assert contents.predictor is not None
    assert contents.predictor["hint_steps"] == 5
    assert contents.folds == 2
    assert json.dumps(contents.scale) == "null"
