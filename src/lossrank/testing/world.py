"""A world small enough for a test: pictures, a task, answers, and a sample that any score should put first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lossrank.config import BudgetRecipe, Recipe, TrainRecipe
from lossrank.experiment import Experiment
from lossrank.ledger import SampleId
from lossrank.models import weights_from
from lossrank.pool import Pool, Transform
from lossrank.runtime import Runtime
from lossrank.strategies.base import Strategy
from lossrank.tasks import Classification, Task
from lossrank.transforms import Normalise

__all__ = ["WORST", "World", "experiment_in", "ids_of", "seeded", "small_world"]

SIDE, CLASSES, ORDINARY, HELD_OUT = 16, 4, 47, 16
WORST = "0-worst.png"
"""The planted sample: sorts first by name, stands in the middle of the pool."""


@dataclass(frozen=True)
class World:
    """What strategies are tried in. Give your own where a strategy needs a task of yours.

    The model has to train on `labelled` in a moment: the suite does it a few times.
    """

    task: Task
    pool: Pool
    """At least 30 samples whose targets are known. Ids neither sorted nor numbered by place."""
    test: Pool
    """Held-out samples whose targets are known."""
    labelled: tuple[SampleId, ...]
    """Samples of the pool that the model is trained on."""
    worst: SampleId | None = None
    """The sample, not labelled, that the score of a strategy which makes its own columns must put first."""
    transform: Transform = field(default_factory=Normalise)
    """Normalises a batch, and nothing random: training in the suite uses it as it is."""
    train: TrainRecipe = field(
        default_factory=lambda: TrainRecipe(epochs=12, batch_size=8, lr=0.05, eval_batch_size=7, device="cpu")
    )

    @property
    def candidates(self) -> list[SampleId]:
        """What is not labelled, sorted."""
        return sorted(set(self.pool.ids) - set(self.labelled))

    def reordered(self) -> World:
        """The same samples at other places of the pool."""
        order = self.pool.ids[::-1]
        inputs = [next(self.pool.batches([i], 1)) for i in order]
        pool = Pool(
            torch.cat([b.inputs for b in inputs]), order, torch.cat([torch.as_tensor(b.targets) for b in inputs])
        )
        return World(self.task, pool, self.test, self.labelled, self.worst, self.transform, self.train)


def seeded(seed: int = 0) -> torch.Generator:
    """A CPU generator."""
    return torch.Generator().manual_seed(seed)


def ids_of(count: int) -> tuple[SampleId, ...]:
    """Distinct ids that are neither dense nor sorted, and that sort otherwise by name than by number."""
    return tuple(f"img-{(7919 * (row + 5)) % 1009}.png" for row in range(count))


class SmallNet(nn.Module):
    """Convolution, batch norm, dropout, linear: everything whose mode matters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
        self.second = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU())
        self.dropout = nn.Dropout(0.3)
        self.last = nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.dropout(self.second(self.first(x))))
        return logits


def small_world() -> World:
    """47 noisy pictures of 16x16 pixels with one bright quarter, which is the answer, and one that breaks the rule.

    In `WORST` two quarters are twice as bright and the answer is a dark one: a model that has learned the rule is torn
    between two wrong classes, its output moves farthest as it learns, and no picture is less like the labelled ones.
    """
    draw = seeded()
    answers = torch.arange(ORDINARY + HELD_OUT) % CLASSES
    pictures = torch.stack([_picture([int(a)], 110, draw) for a in answers])
    place = ORDINARY // 2
    inputs = torch.cat([pictures[:place], _picture([0, 3], 240, draw)[None], pictures[place:ORDINARY]])
    targets = torch.cat([answers[:place], torch.tensor([1]), answers[place:ORDINARY]])
    names = ids_of(ORDINARY + HELD_OUT)
    pool = Pool(inputs, (*names[:place], WORST, *names[place:ORDINARY]), targets)
    test = Pool(pictures[ORDINARY:], names[ORDINARY:], answers[ORDINARY:])

    def build(generator: torch.Generator) -> nn.Module:
        with weights_from(generator):
            return SmallNet()

    task = Classification(("north", "east", "south", "west"), build, ("first", "second"))
    return World(task, pool, test, names[:ORDINARY:3], WORST)


def _picture(bright: Sequence[int], by: int, draw: torch.Generator) -> Tensor:
    half = SIDE // 2
    image = torch.randint(0, 15, (1, SIDE, SIDE), generator=draw)
    for quarter in bright:
        top, left = half * (quarter // 2), half * (quarter % 2)
        image[:, top : top + half, left : left + half] += by
    return image.to(torch.uint8)


def experiment_in(world: World, strategy: Strategy) -> Experiment:
    """The experiment of this strategy in a world: 12 labels at first, 4 more from 20 candidates."""
    pool, task = world.pool, world.task

    def oracle(ids: Sequence[SampleId]) -> Mapping[SampleId, Any]:
        return dict(zip(ids, map(task.answer, pool.targets(ids)), strict=True)) if ids else {}

    recipe = Recipe(
        strategy=strategy.name,
        train=world.train,
        budget=BudgetRecipe(initial=12, step=4, final=16, candidates=20),
    )
    runtime = Runtime(torch.device("cpu"))
    return Experiment(recipe, task, strategy, pool, world.test, oracle, world.transform, world.transform, runtime)
