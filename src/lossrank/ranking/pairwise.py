"""Losses over pairs. Called with predicted and true losses, both [..., list]; only the order of the true matters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lossrank.ranking.lists import Reduction, average, check, finite, reduced

__all__ = ["pairwise_bce_loss", "pairwise_margin_loss", "rank_net_loss"]


def pairwise_margin_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    margin: float = 1.0,
    *,
    where: Bool[Tensor, "*batch list"] | None = None,
    weights: Float[Tensor, "*batch list"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean hinge over the pairs (i, d-1-i): the one with the larger true loss is to lead by `margin` (LL4AL, eq. 2).

    Where true losses tie, the second of the pair is taken as the larger, as the reference code does. Of an odd list
    the middle element has no partner and is left out; a list of one has loss 0.

    Args:
        where: which elements count; the pairs are those of the list without the others.
        weights: of elements; a pair weighs their product.
        reduction: over lists, each of which is a mean over its pairs.
    """
    lead, larger, kept, weight = _opposite_pairs(predicted, target, where, weights)
    sign = 2 * larger.to(lead.dtype) - 1
    return reduced(average((margin - sign * lead).clamp(min=0), kept, weight), reduction)


def pairwise_bce_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    *,
    where: Bool[Tensor, "*batch list"] | None = None,
    weights: Float[Tensor, "*batch list"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross entropy of "the first loses more" over the pairs (i, d-1-i): TA-VAAL's ranking loss.

    Kim et al. 2021, Task-Aware VAAL. Ties, odd lists and the arguments are as in `pairwise_margin_loss`.
    """
    lead, larger, kept, weight = _opposite_pairs(predicted, target, where, weights)
    terms = F.binary_cross_entropy_with_logits(lead, larger.to(lead.dtype), reduction="none")
    return reduced(average(terms, kept, weight), reduction)


def rank_net_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    *,
    where: Bool[Tensor, "*batch list"] | None = None,
    weights: Float[Tensor, "*batch list"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean cross entropy over all pairs with different true losses (Burges et al. 2005, RankNet); O(n²).

    A list without such a pair has loss 0. The arguments are as in `pairwise_margin_loss`.
    """
    check(predicted, target, where, weights)
    predicted, target = finite(predicted, where), target.detach()
    ordered = target[..., :, None] > target[..., None, :]
    if where is not None:
        ordered = ordered & where[..., :, None] & where[..., None, :]
    terms = F.softplus(predicted[..., None, :] - predicted[..., :, None])
    weight = None if weights is None else (weights[..., :, None] * weights[..., None, :]).flatten(-2)
    return reduced(average(terms.flatten(-2), ordered.flatten(-2), weight), reduction)


def _opposite_pairs(
    predicted: Tensor, target: Tensor, where: Tensor | None, weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """For the pairs (i, d-1-i): the lead of i, whether its true loss is larger, whether the pair exists, its weight."""
    check(predicted, target, where, weights)
    predicted, target = finite(predicted, where), finite(target.detach(), where)
    length = predicted.shape[-1]
    half = length // 2
    if where is None:
        first = torch.arange(half, device=predicted.device).expand(*predicted.shape[:-1], half)
        second, exists = length - 1 - first, None
    else:  # the list without what does not count: the kept in front, in their order
        kept = where.sum(-1, keepdim=True)
        order = (~where).to(torch.uint8).argsort(dim=-1, stable=True)
        place = torch.arange(half, device=predicted.device).expand(*predicted.shape[:-1], half)
        exists = place < kept // 2
        first, second = order.gather(-1, place), order.gather(-1, (kept - 1 - place).clamp(min=0))
    lead = predicted.gather(-1, first) - predicted.gather(-1, second)
    larger = target.gather(-1, first) > target.gather(-1, second)
    weight = None if weights is None else weights.gather(-1, first) * weights.gather(-1, second)
    return lead, larger, exists, weight
