"""Every strategy on counting: a run as on any task, and a predictor that leaves the model alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lossrank.assembly import assemble
from lossrank.collect import collect
from lossrank.config import Recipe, recipe_from
from lossrank.datasets import CountingData
from lossrank.errors import DataError
from lossrank.experiment import Watcher, learn, look, start
from lossrank.pool import Pool
from lossrank.runs import run
from lossrank.sources import MapStyle
from lossrank.tasks.counting import HEAD, UNKNOWN

HEIGHT, WIDTH, MOST = 24, 32, 12


class Crowds:
    """Dark pictures with bright dots, of the sizes given, and their targets."""

    def __init__(self, count: int, sizes: list[tuple[int, int]], unknown: int = 0) -> None:
        draw = torch.Generator().manual_seed(count)
        self.images: list[Tensor] = []
        self.targets = torch.zeros(count, MOST, 3)
        for row in range(count):
            height, width = sizes[row % len(sizes)]
            image = torch.randint(40, (3, height, width), generator=draw, dtype=torch.uint8)
            heads = row % MOST
            points = torch.rand(heads, 2, generator=draw) * torch.tensor([width, height])
            for x, y in points.long().tolist():
                image[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] = 250
            self.targets[row, :heads] = torch.cat([points, torch.full((heads, 1), HEAD)], 1)
            self.images.append(image)
        self.targets[:unknown] = 0
        self.targets[:unknown, 0, 2] = UNKNOWN

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.images[row], self.targets[row]

    def pool(self) -> Pool:
        ids = [f"c{row:02d}" for row in range(len(self))]
        return Pool(MapStyle(self, ids, self.targets, mixed_sizes=True))


def data(sizes: list[tuple[int, int]] | None = None, unknown: int = 0) -> CountingData:
    sizes = sizes or [(HEIGHT, WIDTH)]
    train, test = Crowds(32, sizes, unknown).pool(), Crowds(13, sizes).pool()
    return CountingData(train, test, ("head",), (0.1,) * 3, (0.2,) * 3, most=MOST)


def recipe(strategy: str, **train: object) -> Recipe:
    return recipe_from(
        {
            "task": "counting",
            "task_options": {"stride": 4, "kernel": 3, "sigma": 1.0, "scale": 1.0},
            "strategy": strategy,
            "model": {"name": "counting_small", "options": {"width": 4}},
            "train": {"epochs": 2, "batch_size": 8, "optimizer": "adam", "lr": 2e-3, "flip": True, **train},
            "budget": {"initial": 12, "step": 4, "final": 16, "candidates": 16},
        }
    )


@pytest.mark.parametrize(
    "strategy", ["random", "entropy", "core-set", "ll4al", "l2r-al", "rank-all-features", "lossrank", "tod"]
)
def test_every_strategy_runs_unchanged(strategy: str, tmp_path: Path) -> None:
    told = recipe(strategy)
    rows = run(told, tmp_path, assemble(told, data()))
    assert [row["labelled"] for row in rows] == [12, 16]
    metric = rows[0]["metric"]
    assert (metric["name"], metric["higher_is_better"]) == ("MAE", False)
    assert 0 <= metric["value"] <= metric["extras"]["RMSE"]
    assert len(set(rows[0]["asked"])) == 4
    if strategy not in ("random", "core-set", "tod"):
        assert -1 <= rows[0]["spearman"] <= 1
    shown = json.loads((tmp_path / "rounds.jsonl").read_text().splitlines()[0])["ranked_first"][0]
    assert isinstance(shown["prediction"]["count"], float)
    assert all(len(point) == 2 for point in shown["label"])
    assert shown["loss"] >= 0


@pytest.mark.parametrize("strategy", ["l2r-al", "rank-all-features", "lossrank"])
def test_the_predictor_leaves_the_model_bit_identical(strategy: str) -> None:
    states = []
    for name in ("random", strategy):
        experiment = assemble(recipe(name), data())
        learner = start(experiment)
        learn(experiment, learner, experiment.oracle(experiment.pool.ids[:20]), 0, Watcher())
        states.append({key: value.clone() for key, value in learner.model.state_dict().items()})
    assert learner.predictor is not None
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


def test_images_nobody_has_looked_at_are_kept_and_counted(tmp_path: Path) -> None:
    told = recipe("entropy")
    rows = run(told, tmp_path, assemble(told, data(unknown=32)))
    assert [row["labelled"] for row in rows] == [12, 16]
    assert rows[0]["train_loss"] == 0
    assert rows[0]["notes"] == ["nothing is marked on 12 of 12 labelled samples: they weigh nothing"]


SIZES = [(24, 32), (24, 32), (40, 28), (24, 32), (17, 23)]


def test_images_of_several_sizes_run(tmp_path: Path) -> None:
    told = recipe("lossrank")
    rows = run(told, tmp_path, assemble(told, data(SIZES)))
    assert [row["labelled"] for row in rows] == [12, 16]
    assert rows[1]["train_loss"] > 0


def test_results_of_an_image_do_not_depend_on_the_batch_it_is_in() -> None:
    told = recipe("random")
    experiment = assemble(told, data(SIZES))
    learner = start(experiment)
    learn(experiment, learner, experiment.oracle(experiment.pool.ids[:20]), 0, Watcher())
    view = look(experiment, learner)
    pool = experiment.pool
    batches = list(pool.batches(batch_size=16))
    assert [i for batch in batches for i in batch.ids] == list(pool.ids)
    assert len({batch.inputs.shape[2:] for batch in batches}) == 3
    needs = frozenset({"uncertainty", "embedding", "summary"})
    together = collect(view, pool, pool.ids, needs)
    for sample in pool.ids[:6]:
        alone = collect(view, pool, [sample], needs)
        row = together.ids.index(sample)
        for name in needs:
            torch.testing.assert_close(together[name][row], alone[name][0], rtol=1e-5, atol=1e-6)


def test_sizes_must_agree_where_nobody_said_that_they_may_differ() -> None:
    crowds = Crowds(3, SIZES[1:])
    pool = Pool(MapStyle(crowds, ["a", "b", "c"], crowds.targets))
    with pytest.raises(DataError, match=r"one batch needs one shape: a is \[3, 24, 32\], b is \[3, 40, 28\]"):
        list(pool.batches())


def test_the_loss_falls() -> None:
    last = []
    for epochs in (1, 12):
        experiment = assemble(recipe("random", epochs=epochs, lr=1e-2), data())
        labels = experiment.oracle(experiment.pool.ids)
        last.append(learn(experiment, start(experiment), labels, 0, Watcher()))
    assert last[1] < 0.5 * last[0]
