"""Every strategy on human pose: a run as on any task, and a predictor that leaves the model alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lossrank.assembly import assemble
from lossrank.config import Recipe, recipe_from
from lossrank.datasets import PoseData
from lossrank.experiment import Watcher, learn, start
from lossrank.ledger import Ledger
from lossrank.pool import Pool
from lossrank.runs import run

SIDE, JOINTS = 32, ("left_hand", "right_hand", "neck", "head")


def data(blank: int = 0) -> PoseData:
    """48 noisy pictures, each joint a square of its own brightness; 16 are held out. `blank`: without any joint."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(40, (48, 3, SIDE, SIDE), generator=draw, dtype=torch.uint8)
    xy = torch.randint(4, SIDE - 4, (48, 4, 2), generator=draw).float()
    targets = torch.cat([xy, torch.ones(48, 4, 1)], 2)
    for image, joints in zip(images, xy.long().tolist(), strict=True):
        for place, (x, y) in enumerate(joints):
            image[place % 3, y - 2 : y + 3, x - 2 : x + 3] = 150 + 30 * place
    targets[:blank, :, 2] = 0
    ids = [f"p{row:02d}" for row in range(48)]
    train, test = Pool(images[:32], ids[:32], targets[:32]), Pool(images[32:], ids[32:], targets[32:])
    pixels = ((0.1,) * 3, (0.2,) * 3)
    return PoseData(train, test, JOINTS, *pixels, pairs=[(0, 1)], links=[(2, 3)], head=(2, 3))


def recipe(strategy: str, **train: object) -> Recipe:
    return recipe_from(
        {
            "task": "pose",
            "strategy": strategy,
            "model": {"name": "pose_small", "options": {"width": 4}},
            "train": {"epochs": 2, "batch_size": 8, "optimizer": "adam", "lr": 2e-3, **train},
            "budget": {"initial": 12, "step": 4, "final": 16, "candidates": 16},
        }
    )


@pytest.mark.parametrize(
    "strategy",
    [
        "random",
        "entropy",
        "least-confidence",
        "margin",
        "core-set",
        "ll4al",
        "l2r-al",
        "rank-all-features",
        "lossrank",
        "tod",
    ],
)
def test_every_strategy_runs_unchanged(strategy: str, tmp_path: Path) -> None:
    told = recipe(strategy)
    rows = run(told, tmp_path, assemble(told, data()))
    assert [row["labelled"] for row in rows] == [12, 16]
    assert rows[0]["metric"]["name"] == "PCKh@0.5"
    assert 0 <= rows[1]["metric"]["value"] <= 1
    assert len(set(rows[0]["asked"])) == 4
    if strategy not in ("random", "core-set", "tod"):
        assert -1 <= rows[0]["spearman"] <= 1
    shown = json.loads((tmp_path / "rounds.jsonl").read_text().splitlines()[0])["ranked_first"][0]
    assert len(shown["prediction"]["joints"]) == len(shown["label"]) == 4
    assert shown["loss"] > 0


@pytest.mark.parametrize("strategy", ["l2r-al", "rank-all-features", "lossrank"])
def test_the_predictor_leaves_the_model_bit_identical(strategy: str) -> None:
    states = []
    for name in ("random", strategy):
        experiment = assemble(recipe(name), data())
        learner = start(experiment)
        labels = experiment.oracle(experiment.pool.ids[:20])
        learn(experiment, learner, labels, 0, Watcher())
        states.append({key: value.clone() for key, value in learner.model.state_dict().items()})
    assert (learner.predictor is None) is False
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_ll4al_does_change_the_model() -> None:
    """What the test above could not see, if it compared nothing."""
    states = []
    for name in ("random", "ll4al"):
        experiment = assemble(recipe(name), data())
        learner = start(experiment)
        learn(experiment, learner, experiment.oracle(experiment.pool.ids[:20]), 0, Watcher())
        states.append(learner.model.state_dict()["layer1.conv1.weight"])
    assert not torch.equal(*states)


def test_samples_without_a_joint_are_kept_and_counted(tmp_path: Path) -> None:
    told = recipe("entropy")
    rows = run(told, tmp_path, assemble(told, data(blank=32)))
    assert [row["labelled"] for row in rows] == [12, 16]
    assert rows[0]["train_loss"] == 0
    assert rows[0]["notes"] == ["nothing is marked on 12 of 12 labelled samples: they weigh nothing"]
    few = run(told, tmp_path / "few", assemble(told, data(blank=8)))
    with Ledger.open(tmp_path / "few" / "ledger.sqlite") as ledger:
        blank = sum(sample < "p08" for sample in ledger.labelled())
    assert 0 < blank < 16
    assert few[1]["notes"] == [f"nothing is marked on {blank} of 16 labelled samples: they weigh nothing"]
