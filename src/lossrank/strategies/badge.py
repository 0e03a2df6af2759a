"""BADGE: gradients the model would send through its last layer, large and different from each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lossrank.errors import StrategyError
from lossrank.ledger import SampleId
from lossrank.signals import Signals
from lossrank.strategies.base import Strategy
from lossrank.strategies.k_means import factored_k_means_plus_plus

__all__ = ["Badge"]


@dataclass(frozen=True)
class Badge(Strategy):
    """k-means++ over last-layer gradients under the predicted label: uncertain and diverse at once.

    The gradient is the outer product of p - onehot(argmax p) and the embedding (Ash et al. 2020, equation 1). It is
    never written out: memory is O(N (C + D)), not O(N C D). As in the authors' code the first pick is the largest
    gradient (k-means++ alone would draw it uniformly, most likely from what the model is sure of); the others are drawn
    by squared distance. Where every gradient left lies on one picked already (a model that is sure of everything,
    copies of one image), the rest is drawn uniformly.
    """

    bias: bool = False
    """Whether the gradient of the last layer's bias is part of it; the authors' code leaves it out."""

    name: ClassVar[str] = "badge"
    needs: ClassVar[frozenset[str]] = frozenset({"embedding", "probabilities"})
    cost: ClassVar[str] = "one pass over the candidates, then distances of a few drawn rows for each pick"
    paper: ClassVar[str] = (
        "Ash et al., Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds, ICLR 2020"
    )

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> list[SampleId]:
        signals.require(n)
        ordered = signals.sorted()
        residual, embedding = gradient_factors(ordered.finite("probabilities"), ordered.finite("embedding"), self.bias)
        norm = residual.square().sum(1) * embedding.square().sum(1)
        rows = factored_k_means_plus_plus((residual, embedding), n, generator, first=int(norm.argmax()))
        return [ordered.ids[row] for row in rows]


def gradient_factors(probabilities: Tensor, embedding: Tensor, bias: bool = False) -> tuple[Tensor, Tensor]:
    """Factors of the cross-entropy's gradient by the last layer's weights, under the predicted label.

    Args:
        probabilities: [N, classes].
        embedding: [N, D] what enters the last layer.
        bias: whether a 1 is appended to the embedding.

    Returns:
        p - onehot(argmax p) [N, classes] and the embedding [N, D] or [N, D + 1]: the gradient is their outer product.

    Raises:
        StrategyError: a column is not a table.
    """
    for name, column in (("probabilities", probabilities), ("embedding", embedding)):
        if column.ndim != 2:
            raise StrategyError(f"gradients need {name!r} of shape [N, width]; found {list(column.shape)}")
    predicted = F.one_hot(probabilities.argmax(1), probabilities.shape[1])
    return probabilities - predicted, F.pad(embedding, (0, 1), value=1.0) if bias else embedding
