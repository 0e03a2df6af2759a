"""BALD: ask where plausible models disagree, told by dropout at prediction time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lossrank.errors import StrategyError
from lossrank.models.dropout import dropping
from lossrank.pool import Batch
from lossrank.signals import Signals
from lossrank.strategies.base import Scene
from lossrank.strategies.ranked import Ranked
from lossrank.tasks.softmax import widest

__all__ = ["Bald", "mutual_information"]


@dataclass(frozen=True)
class Bald(Ranked):
    """Largest mutual information between prediction and weights first, by Monte Carlo dropout.

    Args:
        passes: forward passes over each sample.
    """

    name: ClassVar[str] = "bald"
    needs: ClassVar[frozenset[str]] = frozenset({"disagreement"})
    makes: ClassVar[frozenset[str]] = frozenset({"disagreement"})
    score: ClassVar[str | None] = "disagreement"
    cost: ClassVar[str] = "`passes` (10) passes over the candidates"
    paper: ClassVar[str] = "Houlsby et al. 2011; Gal, Islam & Ghahramani, Deep Bayesian Active Learning, ICML 2017"
    passes: int = 10

    def make(self, scene: Scene) -> Signals:
        """`disagreement` [N].

        Raises:
            StrategyError: the model has no dropout, or the task gives no class probabilities.
        """
        seed = int(torch.randint(1 << 62, (), generator=scene.generator))
        with dropping(scene.model, "bald", "entropy or margin"), torch.random.fork_rng():
            torch.manual_seed(seed)  # dropout draws from the global generator: lend it one that is ours
            return scene.column("disagreement", lambda batch: self._disagreement(scene, batch))

    def _disagreement(self, scene: Scene, batch: Batch) -> Tensor:
        draws = [scene.task.columns(scene.outputs(scene.model, batch)) for _ in range(self.passes)]
        if "probabilities" not in draws[0]:
            raise StrategyError(f"bald needs class probabilities, which {type(scene.task).__name__} cannot give")
        return mutual_information(torch.stack([draw["probabilities"] for draw in draws]))


def mutual_information(probabilities: Tensor) -> Tensor:
    """[batch] entropy of the mean prediction minus mean entropy, of probabilities [passes, batch, classes]; in nats.

    It is the mean divergence of the passes from their mean, and is summed as such, in terms that are never negative:
    the difference of two entropies is noise where every pass is sure.
    """
    p = probabilities.to(widest(probabilities))
    mean = p.mean(0)
    change = torch.where(mean > 0, p / torch.where(mean > 0, mean, 1.0) - 1, 0.0)
    divergence: Tensor = mean * (torch.special.xlog1py(1 + change, change) - change)
    return divergence.sum(-1).mean(0)
