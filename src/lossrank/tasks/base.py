"""The contract of a task: what a model's output means, and what it costs to be wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

__all__ = ["Metric", "Task"]


class Metric(ABC):
    """Accumulates over batches; says itself which direction is better."""

    name: ClassVar[str]
    higher_is_better: ClassVar[bool]
    unit: ClassVar[str] = ""
    is_share: ClassVar[bool] = False
    """Whether the value is the share of samples that are right, each of them right or wrong."""

    @abstractmethod
    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take in one batch."""

    @abstractmethod
    def compute(self) -> float:
        """The value over everything taken in."""

    def extras(self) -> dict[str, float]:
        """Further figures over everything taken in, by name, for the record; none decides anything."""
        return {}


class Task(ABC):
    """What turns a network into something that can be trained, measured and asked how sure it is."""

    taps: tuple[str, ...]
    """Layers a loss predictor may listen to, deepest last."""
    hints: ClassVar[int] = 0
    """How many leading columns of `summary` are uncertainties made by hand, larger = less sure: a loss predictor may
    begin as their mean and learn what to add."""
    gives: ClassVar[frozenset[str]] = frozenset()
    """Names of the further columns that `columns` fills."""
    has_uncertainty: bool = True
    """Whether an output tells how sure it is; where it does not, there is no column `uncertainty`."""

    @abstractmethod
    def model(self, generator: torch.Generator) -> nn.Module:
        """A new model; its first weights depend on `generator` alone."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """[batch] the loss of each sample, unreduced: its mean trains the model, its order is what is predicted."""

    @abstractmethod
    def uncertainty(self, outputs: Tensor) -> Tensor:
        """[batch] how unsure the output is by itself; larger = less sure.

        Raises:
            StrategyError: an output of this task does not tell.
        """

    @abstractmethod
    def summary(self, outputs: Tensor) -> Tensor:
        """[batch, k] what a loss predictor may read of the output, detached."""

    @abstractmethod
    def target(self, answer: Any) -> Tensor:
        """What a labeller's answer means for training: one sample's target, without the batch dimension.

        Raises:
            DataError: the answer is none of those possible.
        """

    @abstractmethod
    def answer(self, target: Tensor) -> Any:
        """The answer, as plain JSON, that a labeller would give for this target. The inverse of `target`."""

    def category(self, answer: Any) -> str | None:
        """The class an answer stands for, for counting what was asked; None where answers have no classes."""
        return None

    def unmarked(self, answer: Any) -> bool:
        """Whether an answer marks nothing, so that its sample has weight 0 in training; such answers are counted."""
        return False

    def form(self) -> dict[str, Any]:
        """What answers and predictions are to a report, as plain JSON: a `kind` that it can draw, and more."""
        return {"kind": "text"}

    def predictions(self, outputs: Tensor) -> list[Any]:
        """What each output says, as plain JSON in the task's `form`; None where a report has nothing to show."""
        return [None] * len(outputs)

    @abstractmethod
    def metric(self) -> Metric:
        """A fresh metric."""

    def columns(self, outputs: Tensor) -> dict[str, Tensor]:
        """Further columns that this task can fill from its outputs: those in `gives`, each [batch, ...]."""
        return {}
