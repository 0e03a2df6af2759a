"""Temporal output discrepancy: how far the latest training moved the model's output for a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lossrank.errors import StrategyError
from lossrank.pool import Batch
from lossrank.predictor import evaluating
from lossrank.signals import Signals
from lossrank.strategies.base import Scene
from lossrank.strategies.ranked import Ranked

__all__ = ["TOD"]


@dataclass(frozen=True)
class TOD(Ranked):
    """Largest distance between the outputs before and after the latest training first.

    The distance is a lower bound of the loss up to a factor, with no extra module (the paper's theorem 1): outputs are
    taken as the model puts them out, and flattened.
    """

    name: ClassVar[str] = "tod"
    needs: ClassVar[frozenset[str]] = frozenset({"discrepancy"})
    makes: ClassVar[frozenset[str]] = frozenset({"discrepancy"})
    needs_earlier: ClassVar[bool] = True
    score: ClassVar[str | None] = "discrepancy"
    cost: ClassVar[str] = "two passes over the candidates, a second copy of the model"
    paper: ClassVar[str] = "Huang et al., Semi-Supervised Active Learning with Temporal Output Discrepancy, ICCV 2021"

    def make(self, scene: Scene) -> Signals:
        """`discrepancy` [N].

        Raises:
            StrategyError: there is no earlier model.
        """
        if scene.earlier is None:
            raise StrategyError("tod compares the model with an earlier one, and none was kept")
        earlier = scene.earlier

        def moved(batch: Batch) -> Tensor:
            now, then = (scene.outputs(model, batch).float().flatten(1) for model in (scene.model, earlier))
            distance: Tensor = torch.linalg.vector_norm(now - then, dim=1)
            return distance

        with evaluating(scene.model), evaluating(earlier):
            return scene.column("discrepancy", moved)
