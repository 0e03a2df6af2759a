"""A task with a model's outputs for a few samples, and their targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lossrank.errors import ContractError, listed
from lossrank.tasks import Classification, Counting, Pose, Regression, Task
from lossrank.testing.demands import attempt, demand, random_state_untouched
from lossrank.testing.world import seeded

__all__ = ["Posed", "pose"]


@dataclass(frozen=True)
class Posed:
    """A task with a model's outputs for some samples, and their targets."""

    task: Task
    model: nn.Module
    inputs: Tensor
    outputs: Tensor
    targets: Tensor
    surer: Callable[[Tensor], Tensor]

    @property
    def name(self) -> str:
        """The task's class."""
        return type(self.task).__name__


def pose(task: Task, inputs: Tensor | None, answers: Sequence[Any] | None, surer: Callable[[Tensor], Tensor]) -> Posed:
    name = type(task).__name__
    with attempt(f"{name}: model"), random_state_untouched(f"{name}: model"):
        model = task.model(seeded()).eval()
    inputs, outputs = _run(name, model, inputs)
    answers = _answers(task, len(inputs), int(inputs.shape[-1])) if answers is None else answers
    demand(
        len(answers) == len(inputs) >= 3, f"{len(inputs)} inputs and {len(answers)} answers; 3 or more, of each as many"
    )
    with attempt(f"{name}: target of the answers given"):
        targets = torch.stack([task.target(answer) for answer in answers])
    return Posed(task, model, inputs, outputs, targets, surer)


def _run(name: str, model: nn.Module, inputs: Tensor | None) -> tuple[Tensor, Tensor]:
    """Inputs and outputs; of inputs that are not given, the first kind of picture that the model takes."""
    tried = []
    shapes = [(6, channels, side, side) for side in (32, 64) for channels in (3, 1)]
    for some in [torch.rand(shape, generator=seeded(1)) for shape in shapes] if inputs is None else [inputs]:
        try:
            with torch.no_grad():
                return some, model(some)
        except Exception as error:  # another's model may fail in any way
            tried.append(f"{list(some.shape)}: {error}")
    raise ContractError(f"{name}: its model runs on none of these inputs (give inputs=): {listed(tried, 2)}")


def _answers(task: Task, count: int, side: int) -> list[Any]:
    """Made-up answers for the library's own kinds of task."""
    if isinstance(task, Classification):
        return [task.classes[row % len(task.classes)] for row in range(count)]
    if isinstance(task, Pose):
        joints = len(task.joints)
        places = torch.randint(2, side - 2, (count, joints, 2), generator=seeded(2)).tolist()
        return [task.answer(_pose_target(task, xy)) for xy in places]
    if isinstance(task, Counting):
        heads = torch.randint(2, side - 2, (count, 6, 2), generator=seeded(3)).tolist()
        return [heads[row][: row + 1] for row in range(count)]
    if isinstance(task, Regression):
        drawn = torch.rand(count, len(task.names), generator=seeded(4), dtype=torch.float64)
        return [task.answer(row) for row in drawn]
    raise ContractError(f"{type(task).__name__}: give answers=[...], what a labeller would say to each of the inputs")


def _pose_target(task: Pose, xy: Sequence[Sequence[int]]) -> Tensor:
    rows = [[float(x), float(y), 1.0] for x, y in xy]
    return torch.tensor(rows if task.head is not None else [*rows, [8.0, 0.0, -1.0]])
