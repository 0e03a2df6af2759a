"""Listwise losses without ranks of their own. Called with predicted and true losses, both [..., list]."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lossrank.ranking.lists import Reduction, average, check, finite, reduced
from lossrank.ranking.ranks import ascending, hard_ranks
from lossrank.ranking.soft import soft_ranks

__all__ = ["approx_ndcg_loss", "list_mle_loss", "list_net_loss"]

OUT_OF_SIGHT = 1e4  # so far below a list's smallest value that its exponential is 0 beside it, yet finite


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

    Args:
        temperature: of the true losses' softmax, in their unit.
        where: which elements count.
        weights: multiply the true probabilities, which then sum to 1 again.
        reduction: over lists.
    """
    check(predicted, target, where, weights)
    log_p = _hidden(finite(predicted, where), where).log_softmax(-1)
    truth = (_hidden(finite(target.detach(), where), where) / temperature).softmax(-1)
    return reduced(-_share(truth, where, weights).mul(log_p).sum(-1), reduction)


def list_mle_loss(
    predicted: Float[Tensor, "*batch list"],
    target: Float[Tensor, "*batch list"],
    *,
    where: Bool[Tensor, "*batch list"] | None = None,
    weights: Float[Tensor, "*batch list"] | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Negative log-likelihood of the true order under Plackett-Luce, divided by its length (Xia et al. 2008, ListMLE).

    Equal true losses count in the order in which they come.

    Args:
        where: which elements count.
        weights: of the elements' terms in the mean.
        reduction: over lists.
    """
    check(predicted, target, where, weights)
    order = ascending(-target.detach(), where)
    scores = _hidden(finite(predicted, where), where).gather(-1, order)
    left = scores.flip(-1).logcumsumexp(-1).flip(-1)
    kept = None if where is None else where.gather(-1, order)
    return reduced(average(left - scores, kept, None if weights is None else weights.gather(-1, order)), reduction)


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
    check(predicted, target, where, weights)
    true = finite(target.detach(), where)
    length = predicted.shape[-1] if where is None else where.sum(-1, keepdim=True)
    gain = true - _hidden(true, where, sign=-1).amin(-1, keepdim=True) if true.shape[-1] else true
    gain = gain if weights is None else gain * weights
    gain = gain if where is None else torch.where(where, gain, 0.0)
    ideal = (gain / torch.log2(1 + hard_ranks(gain, normalised=False, where=where).clamp(min=1))).sum(-1)
    position = soft_ranks(predicted, temperature=temperature, where=where) * length
    found = gain / torch.log2(1 + position.clamp(min=0.5))
    return reduced(torch.where(ideal > 0, 1 - found.sum(-1) / torch.where(ideal > 0, ideal, 1.0), 0.0), reduction)


def _hidden(values: Tensor, where: Tensor | None, sign: int = 1) -> Tensor:
    """The lists with what does not count moved far below (or, for sign -1, far above) all that does."""
    if where is None or not values.shape[-1]:
        return values
    plain = torch.where(where, values.detach(), sign * torch.inf)
    edge = (plain.amin(-1, keepdim=True) if sign > 0 else plain.amax(-1, keepdim=True)).nan_to_num(0.0, 0.0, 0.0)
    return torch.where(where, values, edge - sign * OUT_OF_SIGHT)


def _share(truth: Tensor, where: Tensor | None, weights: Tensor | None) -> Tensor:
    truth = truth if where is None else truth * where
    if weights is None:
        return truth
    truth = truth * weights
    total = truth.sum(-1, keepdim=True)
    return truth / torch.where(total > 0, total, 1.0)
