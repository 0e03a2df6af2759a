"""The true loss: what a perfect loss predictor would choose. For experiments, where the answers are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lossrank.errors import DataError, StrategyError
from lossrank.predictor import evaluating
from lossrank.signals import Signals
from lossrank.strategies.base import Scene
from lossrank.strategies.ranked import Ranked

__all__ = ["TrueLoss"]

FOR_EXPERIMENTS = "true-loss is for experiments, where the pool knows the answers"


@dataclass(frozen=True)
class TrueLoss(Ranked):
    """Largest true loss first. It reads the answers before asking: for experiments only."""

    name: ClassVar[str] = "true-loss"
    needs: ClassVar[frozenset[str]] = frozenset({"true_loss"})
    makes: ClassVar[frozenset[str]] = frozenset({"true_loss"})
    score: ClassVar[str | None] = "true_loss"
    paper: ClassVar[str] = "the bound of every loss predictor"

    def make(self, scene: Scene) -> Signals:
        """`true_loss` [N].

        Raises:
            StrategyError: the pool has no answers.
        """
        try:
            targets = scene.pool.targets(scene.candidates[:1])
        except DataError as error:
            raise StrategyError(f"{FOR_EXPERIMENTS}: {error}") from error
        if scene.candidates and isinstance(targets, Tensor) and not targets.numel():
            raise StrategyError(f"{FOR_EXPERIMENTS}; this one has no targets")
        with evaluating(scene.model):
            return scene.column(
                "true_loss", lambda batch: scene.task.loss(scene.outputs(scene.model, batch), batch.targets)
            )
