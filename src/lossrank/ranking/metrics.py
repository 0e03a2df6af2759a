"""Metrics of a ranking."""

from __future__ import annotations

from torch import Tensor

from lossrank.ranking.ranks import hard_ranks

__all__ = ["spearman", "top_k_recall"]


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """[...] Spearman's correlation over the last dimension, average ranks for ties; NaN for a constant."""
    x, y = (hard_ranks(v, normalised=False, ties="average").double() for v in (a, b))
    x, y = x - x.mean(-1, keepdim=True), y - y.mean(-1, keepdim=True)
    return (x * y).sum(-1) / (x.square().sum(-1) * y.square().sum(-1)).sqrt()


def top_k_recall(predicted: Tensor, true: Tensor, k: int) -> Tensor:
    """[...] share of the k largest `true` that are among the k largest `predicted`."""
    top = predicted.topk(k).indices
    worst = true.topk(k).indices
    return (top[..., :, None] == worst[..., None, :]).any(-1).double().mean(-1)
