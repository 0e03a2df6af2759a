"""Losses that train a loss predictor to rank. Called with predicted and true losses, both [..., list]."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jaxtyping import Float
from torch import Tensor

from lossrank.ranking.ranks import hard_ranks
from lossrank.ranking.soft import soft_ranks

__all__ = ["RANKING_LOSSES", "pairwise_margin_loss", "spearman_loss"]


def spearman_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    *,
    ranker: Callable[[Tensor], Tensor] = soft_ranks,
) -> Float[Tensor, ""]:
    """Mean squared difference of the soft ranks of `predicted` and the hard ranks of `target` (L2R-AL, equations 4-6).

    Ranks are normalised, as in SoDeep's code: the value is (1 - r) (d² - 1) / (6 d²) for a Spearman coefficient r.

    Args:
        predicted, target: [..., list]; no gradient reaches `target`.
        ranker: differentiable descending normalised ranks, a pretrained `GRUSorter` for instance.
    """
    return (ranker(predicted) - hard_ranks(target.detach()).to(predicted.dtype)).square().mean()


def pairwise_margin_loss(
    predicted: Float[Tensor, "*batch list"], target: Float[Tensor, "*batch list"], margin: float = 1.0
) -> Float[Tensor, ""]:
    """Mean hinge over the pairs (i, d-1-i): the one with the larger true loss is to lead by `margin` (LL4AL, eq. 2).

    Where true losses tie, the second of the pair is taken as the larger, as the reference code does. Of an odd list
    the middle element has no partner and is left out; a list of one has loss 0.
    """
    half = predicted.shape[-1] // 2
    if half == 0:
        return predicted.sum() * 0
    lead = (predicted - predicted.flip(-1))[..., :half]
    larger = (target - target.flip(-1)).detach()[..., :half] > 0
    sign = 2 * larger.to(predicted.dtype) - 1
    return (margin - sign * lead).clamp(min=0).mean()


RANKING_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "margin": pairwise_margin_loss,
    "spearman": spearman_loss,
}
"""Ranking losses by name; each turns predicted and true losses [..., list] into a scalar."""
