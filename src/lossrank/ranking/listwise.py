"""Listwise losses without ranks of their own. Called with predicted and true losses, both [..., list]."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.ranking.lists import Reduction, average, finite, is_ordered, power_of_two, prepared, reduced
from lossrank.ranking.ranks import hard_ranks
from lossrank.ranking.soft import soft_ranks

__all__ = ["approx_ndcg_loss", "list_mle_loss", "list_net_loss"]


def list_net_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    *,
    temperature: float = 1.0,
    where: Bool[Tensor, "*batch list"] | None = None,
    weights: Float[Tensor, "*batch list"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross entropy between the softmax of the true losses and that of the predicted (Cao et al. 2007, ListNet).

    A list whose true losses are all equal has no order and loss 0, without a gradient.

    Args:
        temperature: of the true losses' softmax, in their unit.
        where: which elements count.
        weights: multiply the true probabilities, which then sum to 1 again.
        reduction: over lists.
    """
    predicted, target = prepared(predicted, target, where, weights)
    log_p = _hidden(finite(predicted, where), where).log_softmax(-1)
    truth = _share((_hidden(finite(target, where), where) / temperature).softmax(-1), where, weights).to(log_p.dtype)
    cross = -torch.where(truth > 0, truth * log_p, 0.0).sum(-1)
    return reduced(torch.where(is_ordered(target, where), cross, 0.0), reduction)


def list_mle_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    *,
    ties: Literal["none", "order"] = "none",
    where: Bool[Tensor, "*batch list"] | None = None,
    weights: Float[Tensor, "*batch list"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Negative log-likelihood of the true order under Plackett-Luce, divided by its length (Xia et al. 2008, ListMLE).

    The term of an element is the chance that it comes first of itself and those of smaller true loss. A list whose true
    losses are all equal has loss 0, without a gradient. Memory O(n²).

    Args:
        ties: `none`: elements of equal true loss say nothing about each other, each competes with those below alone;
            `order`: they count in the order in which they come.
        where: which elements count.
        weights: of the elements' terms in the mean.
        reduction: over lists.
    """
    if ties not in ("none", "order"):
        raise ConfigError(f"ties must be one of none and order, got {ties!r}")
    predicted, target = prepared(predicted, target, where, weights)
    scores, place = finite(predicted, where), torch.arange(predicted.shape[-1], device=predicted.device)
    rivals = target[..., None, :] < target[..., :, None]  # [..., i, j]: j is behind i
    if ties == "order":
        rivals = rivals | ((target[..., None, :] == target[..., :, None]) & (place > place[:, None]))
    if where is not None:
        rivals = rivals & where[..., None, :]
    behind = torch.where(rivals, scores[..., None, :] - scores[..., :, None], -torch.inf)
    # Beside itself, at a lead of 0, so that no row is without a rival.
    terms = torch.where(place == place[:, None], 0.0, behind).logsumexp(-1) if len(place) else scores
    return reduced(average(terms, where, weights), reduction)


def approx_ndcg_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    *,
    temperature: float = 0.1,
    where: Bool[Tensor, "*batch list"] | None = None,
    weights: Float[Tensor, "*batch list"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """1 - NDCG at soft positions, so the top of the list counts most (Qin et al. 2010, ApproxNDCG).

    The gain of an element is its true loss above the smallest of its list, as in `lossrank.ranking.ndcg`; a constant
    list has loss 0.

    Args:
        temperature: of the soft positions, see `soft_ranks`.
        where: which elements count.
        weights: multiply the gains.
        reduction: over lists.
    """
    predicted, target = prepared(predicted, target, where, weights)
    true = finite(target, where)
    length = predicted.shape[-1] if where is None else where.sum(-1, keepdim=True)
    if true.shape[-1]:
        true = true / power_of_two(true)
        true = true - (true if where is None else torch.where(where, true, torch.inf)).amin(-1, keepdim=True)
    gain = (true if weights is None else true * weights).to(predicted.dtype)
    gain = gain if where is None else torch.where(where, gain, 0.0)
    ranks = hard_ranks(gain, ties="order", normalised=False, where=where)  # any order of equal gains is ideal
    ideal = (gain / torch.log2(1 + ranks.clamp(min=1))).sum(-1)
    position = soft_ranks(predicted, temperature=temperature, where=where) * length
    found = gain / torch.log2(1 + position.clamp(min=0.5))
    return reduced(torch.where(ideal > 0, 1 - found.sum(-1) / torch.where(ideal > 0, ideal, 1.0), 0.0), reduction)


def _hidden(values: Tensor, where: Tensor | None) -> Tensor:
    """The lists with what does not count so far below all that does that its exponential is 0, yet finite."""
    return values if where is None else torch.where(where, values, torch.finfo(values.dtype).min)


def _share(truth: Tensor, where: Tensor | None, weights: Tensor | None) -> Tensor:
    truth = truth if where is None else truth * where
    if weights is None:
        return truth
    truth = truth * weights
    total = truth.sum(-1, keepdim=True)
    return truth / torch.where(total > 0, total, 1.0)
