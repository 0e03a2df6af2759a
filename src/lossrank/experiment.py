"""What a run is made of, and the learner that passes from round to round: it begins, learns from answers, and looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lossrank.attached import AttachedPredictor
from lossrank.collect import View
from lossrank.config import Recipe
from lossrank.ledger import SampleId
from lossrank.pool import Pool, Transform
from lossrank.runtime import Runtime
from lossrank.seeding import generator
from lossrank.strategies.base import Strategy
from lossrank.tasks.base import Task
from lossrank.training import Companion, Lesson, attach_predictor, fit_after, train

__all__ = ["Experiment", "Learner", "Watcher", "learn", "look", "restore_state", "start", "state_of"]


@dataclass(frozen=True)
class Watcher:
    """Who is told how far things are."""

    on_stage: Callable[[str], None] = lambda stage: None
    on_epoch: Callable[[int, int], None] = lambda done, epochs: None
    on_row: Callable[[dict[str, Any]], None] = lambda row: None
    on_note: Callable[[str], None] = lambda note: None
    """Called with a sentence that a person should read, about weights that start from scratch for instance."""


@dataclass(frozen=True)
class Experiment:
    """Everything a run is made of. Nothing in it changes from round to round."""

    recipe: Recipe
    task: Task
    strategy: Strategy
    pool: Pool
    """What may be labelled."""
    test: Pool
    """Held-out samples with known answers."""
    oracle: Callable[[Sequence[SampleId]], Mapping[SampleId, Any]]
    """Answers a batch of questions."""
    augment: Transform
    normalise: Transform
    runtime: Runtime
    labelled_pool: Pool | None = None
    """Where labelled samples lie, if not in `pool`."""
    outputs: Sequence[str] = ()
    """Names of what the model puts out, in its order: classes, joints, values."""
    model_of: Callable[[int, torch.Generator], nn.Module] | None = None
    """A new model with another number of outputs, first weights by the generator alone; None: only `task.model`."""

    @property
    def answered_pool(self) -> Pool:
        """The pool that holds the labelled samples."""
        return self.labelled_pool or self.pool


@dataclass
class Learner:
    """All that passes from round to round beside the ledger: the weights."""

    model: nn.Module
    predictor: AttachedPredictor | None
    earlier: nn.Module | None = None
    """The model before the latest training, for strategies that compare the two."""
    folds: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    """Weights of the learners that a share of the labels is held out of, by share: what evidence is measured with."""


def start(experiment: Experiment) -> Learner:
    """A new model, and its loss predictor if the strategy has one."""
    recipe, runtime = experiment.recipe, experiment.runtime
    model = runtime.module(experiment.task.model(generator(recipe.seed, "model")))
    plan = experiment.strategy.predictor()
    if plan is None:
        return Learner(model, None)
    example = next(experiment.pool.batches(batch_size=2, transform=experiment.normalise))
    inputs = runtime.tensor(example.inputs)
    return Learner(
        model,
        attach_predictor(model, experiment.task, plan, recipe.train, recipe.seed, inputs, runtime.processes),
    )


def learn(
    experiment: Experiment,
    learner: Learner,
    labels: Mapping[SampleId, Any],
    number: int,
    watcher: Watcher,
    repeated: Sequence[SampleId] = (),
) -> float:
    """Train the learner on the answers; returns the mean loss of the last epoch.

    Args:
        repeated: labelled samples that each epoch sees once more, so that it is as long as an epoch of more labels.
    """
    recipe, task, plan = experiment.recipe, experiment.task, experiment.strategy.predictor()
    on_epoch = _remembering(experiment, learner, number, watcher)
    if number > 0 and not recipe.budget.warm_start:
        fresh = start(experiment)
        learner.model, learner.predictor = fresh.model, fresh.predictor
    lesson = Lesson(
        experiment.answered_pool.answered({i: task.target(answer) for i, answer in labels.items()}),
        [*labels, *repeated],
        experiment.augment,
        experiment.runtime,
        recipe.seed,
        number,
        on_epoch,
    )
    if plan is None or learner.predictor is None:
        return train(learner.model, task, lesson, recipe.train)
    if plan.when == "during":
        companion = Companion(learner.predictor, plan, recipe.train, experiment.runtime.processes)
        return train(learner.model, task, lesson, recipe.train, companion)
    train_loss = train(learner.model, task, lesson, recipe.train)
    fit_after(learner.predictor, task, lesson, recipe.train, plan)
    return train_loss


def _remembering(experiment: Experiment, learner: Learner, number: int, watcher: Watcher) -> Callable[[int, int], None]:
    """Keep the model as it is before training, if the strategy asks; in the first round half of the way through it."""
    if not experiment.strategy.needs_earlier:
        return watcher.on_epoch
    learner.earlier = _copied(experiment, learner.model) if number > 0 else None

    def on_epoch(done: int, epochs: int) -> None:
        if learner.earlier is None and done >= epochs // 2:  # an untrained model has nothing to say
            learner.earlier = _copied(experiment, learner.model)
        watcher.on_epoch(done, epochs)

    return on_epoch


def _copied(experiment: Experiment, model: nn.Module) -> nn.Module:
    """The model as it is now, without what listens to it."""
    copy = experiment.runtime.module(experiment.task.model(generator(experiment.recipe.seed, "model")))
    copy.load_state_dict(model.state_dict())
    return copy.eval()


def look(experiment: Experiment, learner: Learner) -> View:
    """The trained learner as a reader of samples."""
    return View(
        learner.model,
        experiment.task,
        experiment.normalise,
        experiment.runtime,
        experiment.recipe.train.eval_batch_size,
        learner.predictor,
        learner.earlier,
    )


def state_of(learner: Learner) -> dict[str, Tensor]:
    """The weights of a model, of its loss predictor, and of the learners of its folds, by name."""
    state = {f"model.{name}": tensor for name, tensor in learner.model.state_dict().items()}
    if learner.predictor is not None:
        state |= {f"predictor.{name}": tensor for name, tensor in learner.predictor.head.state_dict().items()}
    for number, weights in learner.folds.items():
        state |= {f"fold.{number}.{name}": tensor for name, tensor in weights.items()}
    return state


def restore_state(learner: Learner, state: Mapping[str, Tensor]) -> None:
    """Put weights that `state_of` gave into a learner of the same model and predictor."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "predictor": {}, "fold": {}}
    for name, tensor in state.items():
        part, _, key = name.partition(".")
        parts[part][key] = tensor
    learner.model.load_state_dict(parts["model"])
    if learner.predictor is not None:
        learner.predictor.head.load_state_dict(parts["predictor"])
    for name, tensor in parts["fold"].items():
        number, _, key = name.partition(".")
        learner.folds.setdefault(int(number), {})[key] = tensor
