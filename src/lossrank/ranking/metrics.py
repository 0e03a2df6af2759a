"""How well one list ranks another. All return float64 [...], one number per list, NaN where there is no order."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from scipy.stats import kendalltau
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.ranking.lists import average, check
from lossrank.ranking.ranks import hard_ranks

__all__ = ["kendall_tau", "ndcg", "spearman", "top_k_recall"]

PAIRS_AT_ONCE = 512  # longer lists go to scipy one by one: O(n log n), where all pairs would take O(n²) memory


def spearman(
    a: Float[Tensor, "*batch list"],
    b: Float[Tensor, "*batch list"],
    *,
    where: Bool[Tensor, "*batch list"] | None = None,
) -> Float[Tensor, "*batch"]:
    """[...] Spearman's rank correlation over the last dimension of [..., list].

    Pearson's correlation of average ranks; without ties that is equation 3 of the paper. NaN for a constant list, which
    has no order.
    """
    check(a, b, where)
    x, y = (hard_ranks(values.double(), normalised=False, ties="average", where=where) for values in (a, b))
    x, y = x - average(x, where)[..., None], y - average(y, where)[..., None]
    return average(x * y, where) / (average(x.square(), where) * average(y.square(), where)).sqrt()


def kendall_tau(
    a: Float[Tensor, "*batch list"],
    b: Float[Tensor, "*batch list"],
    *,
    where: Bool[Tensor, "*batch list"] | None = None,
) -> Float[Tensor, "*batch"]:
    """[...] Kendall's tau-b: concordant minus discordant pairs over the geometric mean of the pairs untied in either.

    NaN for a constant list.
    """
    check(a, b, where)
    if a.shape[-1] > PAIRS_AT_ONCE:
        return _long_kendall(a, b, where)
    x, y = (torch.sign(values.double()[..., :, None] - values.double()[..., None, :]) for values in (a, b))
    if where is not None:
        both = where[..., :, None] & where[..., None, :]
        x, y = x * both, y * both
    return (x * y).sum((-2, -1)) / (x.abs().sum((-2, -1)) * y.abs().sum((-2, -1))).sqrt()


def ndcg(
    predicted: Float[Tensor, "*batch list"],
    true: Float[Tensor, "*batch list"],
    k: int | None = None,
    *,
    where: Bool[Tensor, "*batch list"] | None = None,
) -> Float[Tensor, "*batch"]:
    """[...] normalised discounted cumulative gain of the k first by `predicted` (Järvelin & Kekäläinen 2002).

    The gain of an element is its true value above the smallest of its list, its discount log2(1 + rank).

    Args:
        k: how many; the whole list if None.
    """
    check(predicted, true, where)
    gain = true.double()
    kept = gain if where is None else torch.where(where, gain, torch.inf)
    gain = gain - kept.amin(-1, keepdim=True)
    gain = gain if where is None else torch.where(where, gain, 0.0)

    def discounted(order: Tensor) -> Tensor:
        ranks = hard_ranks(order, normalised=False, where=where).double()
        seen = (ranks > 0) if k is None else (ranks > 0) & (ranks <= k)
        return (gain * seen / torch.log2(1 + ranks.clamp(min=1))).sum(-1)

    return discounted(predicted) / discounted(true)


def top_k_recall(
    predicted: Float[Tensor, "*batch list"],
    true: Float[Tensor, "*batch list"],
    k: int | float,
    *,
    where: Bool[Tensor, "*batch list"] | None = None,
) -> Float[Tensor, "*batch"]:
    """[...] share of the k largest of `true` that are among the k largest of `predicted`; selection depends on it.

    Args:
        k: a number of elements (of a shorter list all count), or, below 1, a share of them, rounded down but at least
            one.

    Raises:
        ConfigError: k is not positive.
    """
    check(predicted, true, where)
    if not k > 0 or (k >= 1 and k != math.floor(k)):
        raise ConfigError(f"k is {k}; possible are a whole number above 0 or a share between 0 and 1")
    length = torch.full(predicted.shape[:-1], predicted.shape[-1], device=predicted.device)
    length = (length if where is None else where.sum(-1))[..., None]
    taken = (length * k).floor().clamp(min=1) if k < 1 else length.clamp(max=int(k))
    chosen, worst = (hard_ranks(values, normalised=False, where=where) for values in (predicted, true))
    both = (chosen > 0) & (chosen <= taken) & (worst > 0) & (worst <= taken)
    return both.sum(-1).double() / taken.squeeze(-1)


def _long_kendall(a: Tensor, b: Tensor, where: Tensor | None) -> Tensor:
    width = a.shape[-1]
    kept = torch.ones_like(a, dtype=torch.bool) if where is None else where
    rows = zip(*(t.detach().cpu().reshape(-1, width) for t in (a.double(), b.double(), kept)), strict=True)
    taus = [kendalltau(x[keep].numpy(), y[keep].numpy()).statistic for x, y, keep in rows]
    return torch.tensor(taus, dtype=torch.float64, device=a.device).reshape(a.shape[:-1])
