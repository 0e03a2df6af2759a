"""Losses."""

from __future__ import annotations

from torch import Tensor

from lossrank.ranking.ranks import hard_ranks
from lossrank.ranking.soft import soft_ranks


def spearman_loss(predicted: Tensor, target: Tensor) -> Tensor:
    return (soft_ranks(predicted) - hard_ranks(target.detach())).square().mean()


def pairwise_margin_loss(predicted: Tensor, target: Tensor, margin: float = 1.0) -> Tensor:
    half = predicted.shape[-1] // 2
    d = (predicted - predicted.flip(-1))[..., :half]
    t = (target - target.flip(-1))[..., :half].detach()
    sign = 2 * (t > 0).to(d.dtype) - 1
    return (margin - sign * d).clamp(min=0).mean() if half else predicted.sum() * 0


RANKING_LOSSES = {"spearman": spearman_loss, "margin": pairwise_margin_loss}
