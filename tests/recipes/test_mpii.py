"""The recipe of the paper's pose experiment: its values, and two steps of it on a handful of pictures."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import nn

from lossrank.assembly import assemble, build_strategy
from lossrank.config import load_recipe
from lossrank.errors import ConfigError
from lossrank.models.resnet50 import ResNet50Trunk
from lossrank.runs import run
from lossrank.strategies import PredictorPlan
from lossrank.tasks import Pose
from lossrank.training import Companion, attach_predictor

RECIPE = Path(__file__).parents[2] / "recipes" / "paper" / "mpii.yaml"


def plan_of(strategy: str) -> PredictorPlan:
    plan = build_strategy(load_recipe(RECIPE, {"strategy": strategy})).predictor()
    assert plan is not None
    return plan


def mpii(root: Path, people: int = 40) -> Path:
    """`people` of the training part and 4 of the other, each in a picture of its own of 60 x 60 pixels."""
    draw = np.random.default_rng(0)
    (root / "annot").mkdir()
    (root / "images").mkdir()
    for part, count in (("train", people), ("valid", 4)):
        entries = []
        for k in range(count):
            Image.fromarray(draw.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(root / f"images/{part}{k}.jpg")
            joints = draw.uniform(10, 50, (16, 2)).tolist()
            entries.append(
                {"image": f"{part}{k}.jpg", "center": [30, 25], "scale": 0.2, "joints": joints, "joints_vis": [1] * 16}
            )
        (root / "annot" / f"{part}.json").write_text(json.dumps(entries))
    savemat(root / "annot" / "gt_valid.mat", {"headboxes_src": np.array([[[10.0] * 4] * 2, [[20.0] * 4] * 2])})
    return root


def test_it_is_the_papers() -> None:
    recipe = load_recipe(RECIPE)
    train, budget = recipe.train, recipe.budget
    assert (train.epochs, train.batch_size, train.optimizer, train.lr) == (140, 32, "adam", 1e-3)
    assert (train.milestones, train.gamma, train.weight_decay) == ([90, 120], 0.1, 0)
    assert (budget.initial, budget.step, budget.final, budget.candidates) == (200, 200, 1000, 5000)
    assert (recipe.rounds, budget.warm_start) == (5, True)
    for name, taps in (("l2r-al", "last"), ("rank-all-features", "all")):
        plan = plan_of(name)
        assert (plan.loss, plan.list_size, plan.taps, plan.detach_after) == ("spearman-gru", 32, taps, 0)
    assert (plan_of("ll4al").taps, plan_of("ll4al").loss, plan_of("ll4al").list_size) == ("all", "margin", None)
    assert plan_of("ll4al").detach_after == 0.6


@pytest.mark.parametrize("strategy", ["l2r-al", "ll4al", "rank-all-features"])
def test_the_loss_modules_rate_falls_after_110_epochs(strategy: str) -> None:
    plan, recipe = plan_of(strategy), load_recipe(RECIPE)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Flatten())
    task = Pose(("a",), lambda generator: model, ("0", "1"))
    predictor = attach_predictor(model, task, plan, recipe.train, 0, torch.zeros(2, 3, 2, 2))
    companion = Companion(predictor, plan, recipe.train)
    rates, joint = [], []
    for epoch in range(140):
        companion.start_epoch(epoch / 140)
        (group,) = predictor.optimizer.param_groups
        rates.append(group["lr"])
        joint.append(companion.joint)
        predictor.optimizer.step()
    assert isinstance(predictor.optimizer, torch.optim.SGD)
    assert (group["momentum"], group["weight_decay"]) == (0.9, 5e-4)
    assert rates == pytest.approx([5e-2] * 110 + [5e-3] * 30)
    assert sum(joint) == (85 if strategy == "ll4al" else 0)  # epochs 0 to 84, of which the last begins at 0.6 of 140


def test_an_unknown_optimiser_is_named() -> None:
    recipe = load_recipe(RECIPE, {"predictor": {"optimizer": "sdg"}})
    plan = build_strategy(recipe).predictor()
    assert plan is not None
    model = nn.Conv2d(3, 4, 1)
    with pytest.raises(ConfigError, match=r"'sdg'.*sgd"):
        attach_predictor(model, Pose(("a",), lambda g: model, ("",)), plan, recipe.train, 0, torch.zeros(2, 3, 2, 2))


def test_two_steps_on_a_handful_of_pictures(tmp_path: Path) -> None:
    small = {"image_size": 32, "context": 8, "verify": False, "workers": 0}
    data = str(mpii(tmp_path))
    weights = tmp_path / "resnet50.pth"
    trunk = ResNet50Trunk()
    torch.save(trunk.state_dict(), weights)
    changes = {"data": data, "dataset_options": small, "train.epochs": 1, "model.weights": str(weights)}
    recipe = load_recipe(RECIPE, changes)
    recipe = dataclasses.replace(
        recipe, budget=dataclasses.replace(recipe.budget, initial=32, step=4, final=36, candidates=6)
    )
    experiment = assemble(recipe)
    assert isinstance(experiment.task, Pose)
    assert experiment.task.masked == (6, 7)
    begun = experiment.task.model(torch.Generator()).state_dict()
    assert all(torch.equal(begun[name], value) for name, value in trunk.state_dict().items())
    batch = next(experiment.pool.batches(batch_size=2, transform=experiment.normalise))
    assert batch.inputs.shape == (2, 3, 32, 32)  # the margin is for augmentation alone
    rows = run(recipe, tmp_path / "run", experiment)
    assert [row["labelled"] for row in rows] == [32, 36]
    assert len(rows[0]["asked"]) == 4
    assert 0 < rows[0]["test_loss"] < 1
    first = rows[0]["ranked_first"][0]
    assert first["prediction"]["size"] == [32, 32]
    assert first["loss"] > 0
