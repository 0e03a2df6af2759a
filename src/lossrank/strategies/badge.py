"""BADGE: gradients the model would send through its last layer, large and different from each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from lossrank.columns import blocks, empty_beside
from lossrank.errors import StrategyError
from lossrank.ledger import SampleId
from lossrank.signals import Signals
from lossrank.strategies.base import Strategy
from lossrank.strategies.distances import one_thread
from lossrank.strategies.k_means import factored_k_means_plus_plus, squared_norms

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
        with one_thread():
            factors = gradient_factors(ordered.finite("probabilities"), ordered.finite("embedding"), self.bias)
            first = int(squared_norms(factors).argmax())
            rows = factored_k_means_plus_plus(factors, n, generator, first=first)
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
    residual = empty_beside(probabilities, probabilities.shape, probabilities.dtype)
    for block in blocks(len(probabilities)):
        part = probabilities[block]
        residual[block] = part - F.one_hot(part.argmax(1), part.shape[1])
    return residual, _with_ones(embedding) if bias else embedding


def _with_ones(embedding: Tensor) -> Tensor:
    """[N, D] with a 1 at the end of each row."""
    length, width = embedding.shape
    wide = empty_beside(embedding, (length, width + 1), embedding.dtype)
    wide[:, :width] = embedding
    wide[:, width] = 1.0
    return wide
