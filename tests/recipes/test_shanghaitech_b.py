"""The recipe of the paper's crowd experiment: its values, and two steps of it on a handful of pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch.optim.lr_scheduler import MultiStepLR

from lossrank.assembly import assemble, build_strategy
from lossrank.config import load_recipe
from lossrank.models import DensityResNet
from lossrank.runs import run
from lossrank.strategies import PredictorPlan
from lossrank.tasks import Counting

RECIPE = Path(__file__).parents[2] / "recipes" / "paper" / "shanghaitech_b.yaml"


def plan_of(strategy: str) -> PredictorPlan:
    plan = build_strategy(load_recipe(RECIPE, {"strategy": strategy})).predictor()
    assert plan is not None
    return plan


def shanghaitech(root: Path, pictures: int = 10) -> Path:
    """`pictures` of 32 x 24 pixels in each part, with up to 9 heads each."""
    draw = np.random.default_rng(0)
    for part in ("train_data", "test_data"):
        folder = root / "part_B_final" / part
        (folder / "images").mkdir(parents=True)
        (folder / "ground_truth").mkdir()
        for k in range(pictures):
            image = draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / "images" / f"IMG_{k}.jpg")
            info = np.empty((1, 1), dtype=object)
            info[0, 0] = {"location": draw.uniform(1, 24, (k, 2)), "number": float(k)}
            savemat(folder / "ground_truth" / f"GT_IMG_{k}.mat", {"image_info": info})
    return root


def test_it_is_the_papers() -> None:
    recipe = load_recipe(RECIPE)
    train, budget = recipe.train, recipe.budget
    assert (train.epochs, train.batch_size, train.optimizer, train.lr) == (100, 4, "adam", 1e-5)
    assert (train.weight_decay, train.flip) == (1e-4, True)
    assert (budget.initial, budget.step, budget.final, budget.candidates) == (20, 20, 100, None)
    assert (recipe.rounds, budget.warm_start, recipe.model.weights) == (5, True, "imagenet")
    for name, taps in (("l2r-al", "last"), ("rank-all-features", "all")):
        plan = plan_of(name)
        assert (plan.loss, plan.list_size, plan.taps, plan.detach_after) == ("spearman-gru", 4, taps, 0)
        assert (plan.optimizer, plan.lr, list(plan.milestones), plan.weight_decay) == ("adam", 1e-5, [], 0)
    plan = plan_of("ll4al")
    assert (plan.taps, plan.loss, plan.optimizer, plan.lr, plan.detach_after) == ("all", "margin", "adam", 1e-5, 0.6)


def test_the_rate_falls_by_half_a_percent_an_epoch() -> None:
    train = load_recipe(RECIPE).train
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], train.lr)
    schedule = MultiStepLR(optimizer, train.milestones, train.gamma)
    rates = []
    for _ in range(train.epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1e-5 * 0.995**epoch for epoch in range(100)])


def test_two_steps_on_a_handful_of_pictures(tmp_path: Path) -> None:
    small = {"part": "B", "image_height": 24, "verify": False}
    changes = {"data": str(shanghaitech(tmp_path)), "dataset_options": small, "train.epochs": 1, "model.weights": None}
    recipe = load_recipe(RECIPE, changes)
    recipe = dataclasses.replace(recipe, budget=dataclasses.replace(recipe.budget, initial=4, step=4, final=8))
    experiment = assemble(recipe)
    task = experiment.task
    assert isinstance(task, Counting)
    assert (task.stride, task.kernel, task.sigma, task.scale) == (1, 15, 4, 100)
    assert isinstance(task.model(torch.Generator()), DensityResNet)
    rows = run(recipe, tmp_path / "run", experiment)
    assert [row["labelled"] for row in rows] == [4, 8]
    assert len(rows[0]["asked"]) == 4
    assert rows[0]["metric"]["name"] == "MAE"
    assert rows[0]["test_loss"] > 0
    first = rows[0]["ranked_first"][0]
    assert (len(first["prediction"]["density"]), len(first["prediction"]["density"][0])) == (24, 32)
