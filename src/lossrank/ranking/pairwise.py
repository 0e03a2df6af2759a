"""Losses over pairs. Called with predicted and true losses, both [..., list]. A pair that ties says nothing."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.ranking.lists import Reduction, average, finite, power_of_two, prepared, reduced

__all__ = ["pairwise_bce_loss", "pairwise_margin_loss", "pairwise_ratio_loss", "rank_net_loss"]

Ties = Literal["none", "order"]


def pairwise_margin_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    margin: float = 1.0,
    *,
    ties: Ties = "none",
    where: Bool[Tensor, "*batch list"] | None = None,
    weights: Float[Tensor, "*batch list"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean hinge over the pairs (i, d-1-i): the one with the larger true loss is to lead by `margin` (LL4AL, eq. 2).

    Of an odd list the middle element has no partner and is left out. A list without a pair that counts has loss 0.

    Args:
        ties: `none`: a pair whose true losses are equal does not count; `order`: its second element is taken as the
            larger, as LL4AL's reference code does.
        where: which elements count; the pairs are those of the list without the others.
        weights: of elements; a pair weighs their product.
        reduction: over lists, each of which is a mean over its pairs.

    Raises:
        ConfigError: lists of differing shape, another reduction, or ties are to be broken in another way.
    """
    lead, (first, second), kept, weight = _opposite_pairs(predicted, target, where, weights, ties)
    sign = torch.where(first > second, 1.0, -1.0)
    return reduced(average((margin - sign * lead).clamp(min=0), kept, weight), reduction)


def pairwise_bce_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    *,
    ties: Ties = "none",
    where: Bool[Tensor, "*batch list"] | None = None,
    weights: Float[Tensor, "*batch list"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross entropy of "the first loses more" over the pairs (i, d-1-i): TA-VAAL's ranking loss.

    Kim et al. 2021, Task-Aware VAAL. Ties, odd lists and the arguments are as in `pairwise_margin_loss`.
    """
    lead, (first, second), kept, weight = _opposite_pairs(predicted, target, where, weights, ties)
    terms = F.softplus(torch.where(first > second, -lead, lead))
    return reduced(average(terms, kept, weight), reduction)


def pairwise_ratio_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    *,
    where: Bool[Tensor, "*batch list"] | None = None,
    weights: Float[Tensor, "*batch list"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean over the pairs (i, d-1-i) of KL(t || p): p is the softmax of the two predictions, t the true losses' shares.

    LearningLoss++ (Shukla & Ahmed 2021): t = l_i / (l_i + l_j), so the more unequal two losses, the harder they are
    pushed apart. The true losses are at least 0; a negative one counts as 0. Two differences from the authors' code: a
    pair with equal true losses does not count, where theirs pulls the two predictions together, and pairs are those of
    LL4AL, where theirs are (i, i + d/2). Odd lists and the arguments are as in `pairwise_margin_loss`.
    """
    lead, (first, second), kept, weight = _opposite_pairs(predicted, target, where, weights, "none")
    pair = torch.stack([first, second], -1).clamp(min=0)
    pair = pair / power_of_two(pair)
    total = pair.sum(-1)
    share, rest = (pair / torch.where(total > 0, total, 1.0)[..., None]).to(lead.dtype).unbind(-1)
    entropy = torch.special.entr(share) + torch.special.entr(rest)
    # Finite beside a share of 0: a softplus of an infinite lead would be infinite there.
    cross = torch.where(share > 0, share * F.softplus(-lead), 0.0) + torch.where(rest > 0, rest * F.softplus(lead), 0.0)
    return reduced(average(cross - entropy, kept & (total > 0), weight), reduction)


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
    predicted, target = prepared(predicted, target, where, weights)
    predicted = finite(predicted, where)
    ordered = target[..., :, None] > target[..., None, :]
    if where is not None:
        ordered = ordered & where[..., :, None] & where[..., None, :]
    terms = F.softplus(predicted[..., None, :] - predicted[..., :, None])
    weight = None if weights is None else (weights[..., :, None] * weights[..., None, :]).flatten(-2)
    return reduced(average(terms.flatten(-2), ordered.flatten(-2), weight), reduction)


def _opposite_pairs(
    predicted: Tensor, target: Tensor, where: Tensor | None, weights: Tensor | None, ties: Ties
) -> tuple[Tensor, tuple[Tensor, Tensor], Tensor, Tensor | None]:
    """For the pairs (i, d-1-i): the lead of i, both true losses, whether the pair counts, its weight."""
    if ties not in ("none", "order"):
        raise ConfigError(f"ties must be one of none and order, got {ties!r}")
    predicted, target = prepared(predicted, target, where, weights)
    predicted, target = finite(predicted, where), finite(target, where)
    length = predicted.shape[-1]
    half = length // 2
    first = torch.arange(half, device=predicted.device).expand(*predicted.shape[:-1], half)
    if where is None:
        second, counts = length - 1 - first, torch.ones_like(first, dtype=torch.bool)
    else:  # the list without what does not count: the kept in front, in their order
        kept = where.sum(-1, keepdim=True)
        order = (~where).to(torch.uint8).argsort(dim=-1, stable=True)
        counts = first < kept // 2
        first, second = order.gather(-1, first), order.gather(-1, (kept - 1 - first).clamp(min=0))
    lead = predicted.gather(-1, first) - predicted.gather(-1, second)
    pair = target.gather(-1, first), target.gather(-1, second)
    if ties == "none":
        counts = counts & (pair[0] != pair[1])
    weight = None if weights is None else weights.gather(-1, first) * weights.gather(-1, second)
    return lead, pair, counts, weight
