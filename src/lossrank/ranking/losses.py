"""Losses that train a loss predictor to rank, by name. Called with predicted and true losses, both [..., list]."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lossrank.ranking.lists import Reduction, average, finite, is_ordered, prepared, reduced
from lossrank.ranking.listwise import approx_ndcg_loss, list_mle_loss, list_net_loss
from lossrank.ranking.pairwise import pairwise_bce_loss, pairwise_margin_loss, pairwise_ratio_loss, rank_net_loss
from lossrank.ranking.permutahedron import permutahedron_ranks
from lossrank.ranking.ranks import hard_ranks
from lossrank.ranking.soft import soft_ranks
from lossrank.ranking.sorters import PRETRAINED_LENGTHS, GRUSorter

__all__ = ["RANKING_LOSSES", "mse_loss", "soft_spearman_loss", "spearman_gru_loss", "spearman_loss"]


def spearman_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    *,
    ranker: Callable[..., Tensor] = soft_ranks,
    ties: Literal["average", "order"] = "average",
    where: Bool[Tensor, "*batch list"] | None = None,
    weights: Float[Tensor, "*batch list"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean squared difference of the soft ranks of `predicted` and the hard ranks of `target` (L2R-AL, equations 4-6).

    Ranks are normalised, as in SoDeep's code: the value is (1 - r) (d² - 1) / (6 d²) for a Spearman coefficient r.

    Args:
        ties: `average`: equal true losses share their mean rank, and a list in which all are equal has loss 0 and no
            gradient; `order`: they are ranked in the order in which they come, as in SoDeep's code.
        predicted, target: [..., list]; no gradient reaches `target`.
        ranker: differentiable descending normalised ranks: `soft_ranks`, `permutahedron_ranks`, a pretrained
            `GRUSorter`. Called with `where=` only where a mask is given; a sorter knows none.
        where: [..., list] which elements count.
        weights: [..., list] of the elements in the mean over a list.
        reduction: over lists.
    """
    predicted, target = prepared(predicted, target, where, weights)
    ranks = ranker(predicted) if where is None else ranker(predicted, where=where)
    truth = hard_ranks(target, ties=ties, where=where).to(ranks.dtype)
    per_list = average((ranks - truth).square(), where, weights)
    if ties == "average":
        per_list = torch.where(is_ordered(target, where), per_list, 0.0)
    return reduced(per_list, reduction)


def spearman_gru_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    *,
    standardise: bool = False,
    weights: Float[Tensor, "*batch list"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """`spearman_loss` through the pretrained GRU sorter, the paper's choice.

    The shipped weights whose length is nearest to the list's are used; at other lengths than those the ranks keep their
    order and lose their calibration, so the paper's rule is to skip such batches (`PredictorPlan.list_size`).

    Args:
        standardise: bring each list to the scale that the sorter knows; the paper does not.
    """
    predicted, target = prepared(predicted, target, None, weights)
    predicted = finite(predicted)  # a standardised infinity is no number
    place = predicted.device.type, predicted.device.index
    sorter = _sorter(_nearest(predicted.shape[-1]), standardise, *place, predicted.dtype)
    return spearman_loss(predicted, target, ranker=sorter, weights=weights, reduction=reduction)


def soft_spearman_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    *,
    ranker: Callable[..., Tensor] = soft_ranks,
    where: Bool[Tensor, "*batch list"] | None = None,
    weights: Float[Tensor, "*batch list"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """1 - the (weighted) correlation of the soft ranks of `predicted` with the average ranks of `target`; 0 to 2.

    A list whose true losses are all equal has no order and loss 0. The arguments are as in `spearman_loss`.
    """
    predicted, target = prepared(predicted, target, where, weights)
    ranks = ranker(predicted) if where is None else ranker(predicted, where=where)
    truth = hard_ranks(target, where=where).to(ranks.dtype)
    x = ranks - average(ranks, where, weights)[..., None]
    y = truth - average(truth, where, weights)[..., None]
    spread_y = average(y.square(), where, weights)
    # Soft ranks that are all but equal would divide by nothing; below a hundredth of the true spread it counts as that.
    spread_x = average(x.square(), where, weights).maximum(1e-4 * spread_y)
    known = spread_y > 0
    correlation = average(x * y, where, weights) / torch.where(known, spread_x * spread_y, 1.0).sqrt()
    return reduced(torch.where(known, 1 - correlation, 0.0 * correlation), reduction)


def mse_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    *,
    where: Bool[Tensor, "*batch list"] | None = None,
    weights: Float[Tensor, "*batch list"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Mean squared difference of the losses themselves, the pointwise ablation (LL4AL, figure 2).

    The only one that learns from a list of equal losses: it predicts the loss, not its rank.
    """
    predicted, target = prepared(predicted, target, where, weights)
    predicted, target = finite(predicted, where), finite(target, where).to(predicted.dtype)
    return reduced(average((predicted - target).square(), where, weights), reduction)


def _nearest(length: int) -> int:
    return min(PRETRAINED_LENGTHS, key=lambda known: abs(math.log(known / max(1, length))))


@lru_cache(maxsize=16)
def _sorter(length: int, standardise: bool, device: str, index: int | None, dtype: torch.dtype) -> GRUSorter:
    sorter = GRUSorter.pretrained(length, standardise=standardise)
    return sorter.to(torch.device(device, index) if index is not None else torch.device(device), dtype)


RANKING_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "spearman": spearman_loss,
    "spearman-permutahedron": partial(spearman_loss, ranker=partial(permutahedron_ranks, temperature=3.0)),
    "spearman-gru": spearman_gru_loss,
    "spearman-gru-standardised": partial(spearman_gru_loss, standardise=True),
    "soft-spearman": soft_spearman_loss,
    "list-net": list_net_loss,
    "list-mle": list_mle_loss,
    "ndcg": approx_ndcg_loss,
    "rank-net": rank_net_loss,
    "margin": pairwise_margin_loss,
    "bce": pairwise_bce_loss,
    "ratio": pairwise_ratio_loss,
    "mse": mse_loss,
}
"""Ranking losses by name; each turns predicted and true losses [..., list] into a scalar."""
