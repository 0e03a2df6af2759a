"""The one training loop: a task, and at most one loss predictor beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from lossrank.attached import AttachedPredictor, attach
from lossrank.config import TrainRecipe
from lossrank.errors import ConfigError, TrainingError, listed, unknown_name
from lossrank.ledger import SampleId
from lossrank.pool import Batch, Pool, Transform
from lossrank.processes import Processes
from lossrank.ranking import RANKING_LOSSES
from lossrank.requirements import require_number
from lossrank.runtime import Runtime
from lossrank.seeding import derive_seed, generator
from lossrank.strategies.base import PredictorPlan
from lossrank.tasks.base import Task

__all__ = ["Companion", "Lesson", "attach_predictor", "fit_after", "train"]

PREDICTOR_GAMMA = 0.1  # at each of a plan's own milestones (paper: 5e-2 to 5e-3)


@dataclass(frozen=True)
class Lesson:
    """What the training of one round is given: samples, their augmentation, and the randomness that is its own."""

    pool: Pool
    """Holds the labelled samples; its targets are the answers."""
    ids: Sequence[SampleId]
    """Which samples are labelled."""
    transform: Transform
    """Augments a batch."""
    runtime: Runtime
    seed: int
    round: int
    on_epoch: Callable[[int, int], None] = lambda done, epochs: None
    """Told after each epoch how many are done, and of how many."""

    def epochs(self, number: int, batch_size: int) -> Iterator[Iterable[Batch]]:
        """`number` shuffled and augmented passes to train on; of each batch this process's part."""
        processes = self.runtime.processes
        shuffle = generator(self.seed, "shuffle", self.round)
        augment = generator(self.seed, "augment", self.round, processes.index)
        for _ in range(number):
            ids, size = processes.shared(self._shuffled(shuffle), batch_size)
            batches = self._placed(ids, size, augment)
            yield batches if processes.count == 1 else _even(batches, len(ids), size)

    def passes(self, number: int, batch_size: int) -> Iterator[Batch]:
        """The batches of `number` such passes to fit a predictor on, with draws of their own."""
        shuffle = generator(self.seed, "shuffle", self.round)
        augment = generator(self.seed, "fit", self.round)
        for _ in range(number):
            yield from self._placed(self._shuffled(shuffle), batch_size, augment)

    def _shuffled(self, shuffle: torch.Generator) -> list[SampleId]:
        return [self.ids[row] for row in torch.randperm(len(self.ids), generator=shuffle).tolist()]

    def _placed(self, ids: Sequence[SampleId], batch_size: int, augment: torch.Generator) -> Iterator[Batch]:
        for batch in self.pool.batches(ids, batch_size, transform=self.transform, generator=augment):
            place = self.runtime.tensor
            yield Batch(batch.ids, place(batch.inputs), place(batch.targets))


def _even(batches: Iterator[Batch], count: int, size: int) -> Iterator[Batch]:
    """The batches of one process among several, which wait for each other at every step.

    Raises:
        TrainingError: a part is smaller than the others' parts of the same batch.
    """
    for begin in range(0, count, size):
        batch, wanted = next(batches, None), min(size, count - begin)
        if batch is None or len(batch.ids) != wanted:
            found = () if batch is None else batch.ids
            raise TrainingError(
                f"{len(found)} of {wanted} samples of a batch came together ({listed(found)}): several processes need "
                "labelled samples that can all be read and have one shape; one process does not"
            )
        yield batch


def train(
    model: nn.Module, task: Task, lesson: Lesson, recipe: TrainRecipe, companion: Companion | None = None
) -> float:
    """Train the model in place, and the companion beside it. Returns the mean loss of the last epoch.

    Raises:
        TrainingError: a loss is not finite; the message names the round, the batch and the samples.
    """
    processes = lesson.runtime.processes
    optimizer = _optimizer(recipe, recipe.lr, recipe.weight_decay)(model.parameters())
    schedule = MultiStepLR(optimizer, recipe.milestones, recipe.gamma)
    losses = [float("nan")]
    model.train()
    forward = lesson.runtime.trained(model)
    with torch.random.fork_rng():  # dropout draws from the global generator: lend it one that is ours
        torch.manual_seed(derive_seed(lesson.seed, "forward", lesson.round, processes.index))
        for epoch, batches in enumerate(lesson.epochs(recipe.epochs, recipe.batch_size)):
            if companion:
                companion.start_epoch(epoch / recipe.epochs)
            losses = [
                _step(forward, task, lesson, optimizer, companion, number, batch, recipe.clip)
                for number, batch in enumerate(batches)
            ]
            schedule.step()
            lesson.on_epoch(epoch + 1, recipe.epochs)
    processes.synchronise(model)  # each has the statistics of its own parts
    model.eval()
    return sum(processes.joined(sum(losses) / len(losses))) / processes.count


def _step(
    model: Callable[[Tensor], Tensor],
    task: Task,
    lesson: Lesson,
    optimizer: Optimizer,
    companion: Companion | None,
    number: int,
    batch: Batch,
    clip: float | None,
) -> float:
    with lesson.runtime.autocast():
        outputs = model(batch.inputs)
    per_sample = task.loss(outputs, batch.targets)
    mean = per_sample.mean()
    value = mean.item()
    if value != value or value in (float("inf"), float("-inf")):
        raise TrainingError(
            f"the loss is {value} in round {lesson.round}, batch {number}, over {listed(batch.ids)}: "
            "a lower train.lr, train.clip: 1.0 or a look at these samples may help; everything answered so far is in "
            "the ledger"
        )
    optimizer.zero_grad(set_to_none=True)
    (mean if companion is None else companion.objective(mean, per_sample)).backward()  # type: ignore[no-untyped-call]
    if clip is not None:
        nn.utils.clip_grad_norm_((p for group in optimizer.param_groups for p in group["params"]), clip)
    optimizer.step()
    if companion:
        companion.step(per_sample)  # its graph says which forward pass it is of
    return value


class Companion:
    """A loss predictor that learns during the model's training, in the way its plan says."""

    def __init__(
        self,
        predictor: AttachedPredictor,
        plan: PredictorPlan,
        recipe: TrainRecipe,
        processes: Processes | None = None,
    ) -> None:
        self.predictor, self.plan, self.processes = predictor, plan, processes or Processes()
        self.predictor.reset_optimizer(_predictor_optimizer(plan, recipe))
        milestones, gamma = (
            (recipe.milestones, recipe.gamma) if plan.optimizer == "task" else (plan.milestones, PREDICTOR_GAMMA)
        )
        self.schedule = MultiStepLR(predictor.optimizer, list(milestones), gamma) if milestones else None
        self.joint = False

    def start_epoch(self, progress: float) -> None:
        """Stop the gradient into the model in epochs that begin after the share `detach_after` of all.

        The one that begins at it still sends its gradient, as in LL4AL's public code (`epoch > 120` of 200, from 0).
        """
        if self.schedule and progress > 0:
            self.schedule.step()
        self.joint = self.plan.detach_after > 0 and progress <= self.plan.detach_after
        self.predictor.stop_gradient = not self.joint

    def objective(self, mean: Tensor, per_sample: Tensor) -> Tensor:
        """What the model minimises: the task's mean loss, with the predictor's added while gradients are joint."""
        if not (self.joint and self._ranks(per_sample)):
            return mean
        self.predictor.zero_grad()
        return mean + self.predictor.joint_loss(per_sample)

    def step(self, per_sample: Tensor) -> None:
        """The predictor's own step after the model's, by the losses [batch] with their graph."""
        if not self._ranks(per_sample):
            return
        if self.joint:
            self.predictor.optimizer_step()
        else:
            self.predictor.step(per_sample)

    def _ranks(self, per_sample: Tensor) -> bool:
        # The paper's sorter takes lists of one length only; its last, shorter batches train the model alone.
        whole = len(per_sample) * self.processes.count
        return self.plan.list_size is None or whole == self.plan.list_size


def fit_after(
    predictor: AttachedPredictor, task: Task, lesson: Lesson, recipe: TrainRecipe, plan: PredictorPlan
) -> None:
    """Fit the predictor on the trained model's evaluation-mode features, outputs and losses.

    They are read in `plan.passes` augmented passes over the labelled samples; the model is not touched.
    """
    predictor.fit(
        lesson.passes(plan.passes, recipe.eval_batch_size),
        task.loss,
        steps=plan.hint_steps if plan.hint_steps and task.hints else plan.steps,
        lr=plan.lr,
        weight_decay=plan.weight_decay,
        list_size=plan.list_size or 64,
        lists=plan.lists,
        generator=generator(lesson.seed, "fit", lesson.round),
    )
    lesson.runtime.processes.synchronise(predictor.head)


def attach_predictor(
    model: nn.Module,
    task: Task,
    plan: PredictorPlan,
    recipe: TrainRecipe,
    seed: int,
    example: Tensor,
    processes: Processes | None = None,
) -> AttachedPredictor:
    """A new loss predictor on the model, as the plan says: which taps, which inputs, which ranking loss.

    Args:
        example: [batch, ...] inputs of the model, to find the width of its layers.
        processes: that train the model together; it ranks whole batches then.

    Raises:
        ConfigError: the ranking loss does not exist, or its weight is not above 0.
    """
    taps = task.taps if plan.taps == "all" else task.taps[-1:]
    return attach(
        model,
        taps if plan.features else (),
        loss=_weighted(plan),
        stop_gradient=plan.detach_after == 0,
        optimizer=_predictor_optimizer(plan, recipe),
        summary=task.summary if plan.summary else None,
        hidden=plan.hidden,
        dropout=plan.dropout,
        hints=task.hints if plan.hint_steps else 0,
        generator=generator(seed, "predictor"),
        example=example,
        gather=(processes or Processes()).gathered,
        call="last",  # models of the library that answer several times do so plainly in the last call
        untrained="ignore",
    )


def _weighted(plan: PredictorPlan) -> str | Callable[[Tensor, Tensor], Tensor]:
    """The ranking loss of a plan, times its weight."""
    require_number("predictor.weight", plan.weight, 0, above=True)
    if plan.weight == 1 or plan.loss not in RANKING_LOSSES:  # an unknown name is refused by `attach`
        return plan.loss
    loss, weight = RANKING_LOSSES[plan.loss], plan.weight
    return lambda predicted, true: weight * loss(predicted, true)


def _optimizer(recipe: TrainRecipe, lr: float, weight_decay: float) -> Callable[[Iterable[Tensor]], Optimizer]:
    if recipe.optimizer == "sgd":
        return lambda params: SGD(params, lr, recipe.momentum, weight_decay=weight_decay)
    kind = Adam if recipe.optimizer == "adam" else AdamW
    return lambda params: kind(params, lr, weight_decay=weight_decay)


def _predictor_optimizer(plan: PredictorPlan, recipe: TrainRecipe) -> Callable[[Iterable[Tensor]], Optimizer]:
    if plan.optimizer == "task":
        return _optimizer(recipe, recipe.lr, recipe.weight_decay)
    if plan.optimizer == "sgd":
        return lambda params: SGD(params, plan.lr, plan.momentum, weight_decay=plan.weight_decay)
    if plan.optimizer == "adam":
        return lambda params: Adam(params, plan.lr, weight_decay=plan.weight_decay)
    raise ConfigError(unknown_name("optimizer of the predictor", plan.optimizer, ("adam", "sgd", "task")))
