"""Checkpoints: the weights of a learner, and what they are of. `lossrank.restore` puts them into a learner.

A checkpoint is a safetensors file whose metadata holds its `Contents` as JSON and a digest of contents and tensors, so
that a damaged file is never taken for weights. Files of version 0.1 have no metadata: they are taken where they fit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lossrank.config import Recipe
from lossrank.errors import RunError
from lossrank.experiment import Experiment, Learner, state_of
from lossrank.folder import read_weights, save_weights
from lossrank.strategies import Auto
from lossrank.strategies.base import PredictorPlan, Strategy
from lossrank.tasks import Regression

__all__ = [
    "FOLDS",
    "Checkpoint",
    "Contents",
    "State",
    "contents_of",
    "load_checkpoint",
    "save_checkpoint",
]

FORMAT = 1  # raised when an older version could no longer read a checkpoint
FOLDS = 3  # of the cross-validation, where no strategy sets them
MODEL_FIELDS = ("name", "options", "weights", "trunk")

State = dict[str, Tensor]


@dataclass(frozen=True)
class Contents:
    """What the tensors of a checkpoint are of; plain JSON."""

    task: str
    task_options: Mapping[str, Any]
    model: Mapping[str, Any]
    """The fields of the recipe's `model` that decide what its weights mean."""
    outputs: Sequence[str]
    """Names of the model's outputs, in their order: classes, joints, values."""
    scale: Mapping[str, Any] | None
    """`mean` and `std` of a regression's values; None where there is none, or none that later answers should keep."""
    strategy: Mapping[str, Any]
    """Its name, and its options."""
    predictor: Mapping[str, Any] | None
    """The plan of the loss predictor; None where the strategy has none."""
    folds: int
    """Of the cross-validation whose models are kept beside the learner's own."""

    def changes(self, recipe: Recipe) -> list[str]:
        """In what a recipe asks for a model that these weights are not of, a clause each."""
        now = _of_recipe(recipe)
        found = {"task": (self.task, now["task"])}
        for group in ("task_options", "model"):
            held, wanted = getattr(self, group), now[group]
            found |= {f"{group}.{n}": (held.get(n), wanted.get(n)) for n in {**held, **wanted}}
        return [f"{name} was {old!r} and is {new!r}" for name, (old, new) in found.items() if old != new]


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds."""

    contents: Contents | None
    """None of a file of version 0.1."""
    tensors: State
    """By the names of `experiment.state_of`."""


def contents_of(experiment: Experiment) -> Contents:
    """What a learner of this experiment is, as its checkpoint states it."""
    task, strategy = experiment.task, experiment.strategy
    plan = strategy.predictor()
    fields = _of_recipe(experiment.recipe) | {
        "outputs": experiment.outputs,
        "scale": {"mean": task.mean, "std": task.std} if isinstance(task, Regression) else None,
        "strategy": _plain(strategy),
        "predictor": plan and dataclasses.asdict(plan),
        "folds": strategy.folds if isinstance(strategy, Auto) else FOLDS,
    }
    return Contents(**json.loads(json.dumps(fields, default=str)))


def save_checkpoint(path: Path, learner: Learner, contents: Contents) -> None:
    """Write a learner's weights and what they are of, whole or not at all.

    Raises:
        RunError: the disk is full or read-only.
    """
    state = {name: tensor.detach().cpu() for name, tensor in state_of(learner).items()}
    text = json.dumps({"format": FORMAT} | dataclasses.asdict(contents), sort_keys=True)
    save_weights(path, state, {"lossrank": text, "digest": _digest(text, state)})


def load_checkpoint(path: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote, or a weights file of version 0.1.

    Raises:
        RunError: the file is missing, damaged, or of a newer lossrank.
    """
    tensors, metadata = read_weights(path)
    if not metadata:
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise RunError(f"the weights {path} are damaged: they hold numbers that are not finite")
        return Checkpoint(None, tensors)
    text = metadata.get("lossrank", "")
    if metadata.get("digest") != _digest(text, tensors):
        raise RunError(f"the weights {path} are damaged: their bytes are not those that were written")
    stated = json.loads(text)
    if stated.pop("format") > FORMAT:
        raise RunError(f"the weights {path} are of a newer lossrank; this one reads up to format {FORMAT}")
    return Checkpoint(Contents(**stated), tensors)


def _of_recipe(recipe: Recipe) -> dict[str, Any]:
    model = dataclasses.asdict(recipe.model)
    fields = {
        "task": recipe.task,
        "task_options": recipe.task_options,
        "model": {name: model[name] for name in MODEL_FIELDS},
    }
    return json.loads(json.dumps(fields, default=str))  # type: ignore[no-any-return]


def _plain(strategy: Strategy) -> dict[str, Any]:
    """The name and the fields of a strategy, and of those inside it."""
    found: dict[str, Any] = {"name": strategy.name}
    for field in dataclasses.fields(strategy):  # type: ignore[arg-type]
        value = getattr(strategy, field.name)
        if isinstance(value, Strategy):
            value = _plain(value)
        elif isinstance(value, PredictorPlan):
            value = dataclasses.asdict(value)
        found[field.name] = value
    return found


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Of the contents, and of each tensor's name, type, shape and bytes."""
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
