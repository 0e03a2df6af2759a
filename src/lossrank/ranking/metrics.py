"""How well one list ranks another."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from lossrank.ranking.ranks import hard_ranks

__all__ = ["spearman", "top_k_recall"]


def spearman(a: Float[Tensor, "*batch list"], b: Float[Tensor, "*batch list"]) -> Float[Tensor, "*batch"]:
    """[...] Spearman's rank correlation over the last dimension of [..., list], float64.

    Pearson's correlation of average ranks; without ties that is equation 3 of the paper. NaN for a constant list, which
    has no order.
    """
    x, y = (hard_ranks(values.double(), normalised=False, ties="average") for values in (a, b))
    x, y = x - x.mean(-1, keepdim=True), y - y.mean(-1, keepdim=True)
    return (x * y).sum(-1) / (x.square().sum(-1) * y.square().sum(-1)).sqrt()


def top_k_recall(
    predicted: Float[Tensor, "*batch list"], true: Float[Tensor, "*batch list"], k: int
) -> Float[Tensor, "*batch"]:
    """[...] share of the k largest of `true` that are among the k largest of `predicted`; selection depends on it."""
    chosen, worst = predicted.topk(k).indices, true.topk(k).indices
    return (chosen[..., :, None] == worst[..., None, :]).any(-1).double().mean(-1)
