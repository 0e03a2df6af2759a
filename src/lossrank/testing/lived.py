"""A strategy that has lived: its model trained in a small world, to be read by checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

import lossrank.experiment as living
from lossrank.collect import View, collect
from lossrank.errors import listed
from lossrank.ledger import SampleId
from lossrank.signals import Signals
from lossrank.strategies.base import Scene, Strategy
from lossrank.testing.demands import attempt
from lossrank.testing.world import World, experiment_in, seeded

__all__ = ["Lived", "evaluation", "read_alone"]


@dataclass(frozen=True)
class Lived:
    """A strategy in a world, its model trained once and then only read."""

    strategy: Strategy
    world: World
    planted: bool

    @property
    def name(self) -> str:
        """The strategy's."""
        return self.strategy.name

    @cached_property
    def experiment(self) -> living.Experiment:
        """The experiment."""
        return experiment_in(self.world, self.strategy)

    def trained(self, strategy: Strategy) -> living.Learner:
        """A learner of this strategy after one round on the world's labelled samples."""
        experiment = experiment_in(self.world, strategy)
        with attempt(f"{strategy.name}: training a model for it"):
            learner = living.start(experiment)
            living.learn(experiment, learner, experiment.oracle(self.world.labelled), 0, living.Watcher())
        return learner

    @cached_property
    def learner(self) -> living.Learner:
        """The trained learner."""
        return self.trained(self.strategy)

    @cached_property
    def view(self) -> View:
        """The learner as a reader of samples."""
        return living.look(self.experiment, self.learner)

    @property
    def collected(self) -> frozenset[str]:
        """The columns that the strategy does not make itself."""
        return self.strategy.needs - self.strategy.makes

    def read(self, ids: Sequence[SampleId], world: World | None = None, batch_size: int = 7) -> Signals:
        """Collected columns of these samples."""
        view = dataclasses.replace(self.view, batch_size=batch_size)
        with attempt(f"{self.name}: collecting {listed(sorted(self.collected))}"):
            return collect(view, (world or self.world).pool, ids, self.collected)

    def scene(self, world: World, seed: int = 0) -> Scene:
        """What `make` looks at."""
        return Scene(
            model=self.learner.model.eval(),
            earlier=self.learner.earlier,
            task=world.task,
            pool=world.pool,
            candidates=world.candidates,
            labelled_pool=world.pool,
            labelled=list(world.labelled),
            augment=world.transform,
            normalise=world.transform,
            runtime=self.experiment.runtime,
            batch_size=7,
            generator=seeded(seed),
        )

    def made(self, world: World | None = None) -> Signals:
        """The columns that the strategy makes."""
        with attempt(f"{self.name}: make"):
            return self.strategy.make(self.scene(world or self.world))


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, written out here so that the suite does not lean on what it checks."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    yield
    for module, mode in modes.items():
        module.training = mode


def read_alone(lived: Lived, learner: living.Learner, sample: SampleId) -> float | None:
    """The collected score of one sample, read by itself and by hand; None where the score is no such column."""
    score, task = lived.strategy.score, lived.world.task
    if score is None or score in lived.strategy.makes:
        return None
    inputs = next(lived.world.pool.batches([sample], 1, transform=lived.world.transform)).inputs
    with evaluation(learner.model), torch.no_grad():
        outputs = learner.model(inputs)
        if score == "predicted_loss" and learner.predictor is not None:
            return float(learner.predictor.current()[0])
        columns = {"uncertainty": task.uncertainty(outputs), **task.columns(outputs)}
    return float(columns[score][0]) if score in columns else None
