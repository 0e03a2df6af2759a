"""How well one list ranks another. All return float64 [...], one number per list, NaN where there is no order.

None depends on the order in which equal values come, and a list that holds a NaN has none: the result is NaN.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from scipy.stats import kendalltau
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.ranking.lists import average, check
from lossrank.ranking.ranks import hard_ranks, places

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

    NaN for a constant list. Lists of more than 512 are counted by SciPy, one by one on the CPU.
    """
    check(a, b, where)
    if a.shape[-1] > PAIRS_AT_ONCE:
        return _long_kendall(a, b, where)
    x, y = (_sign(values.double()) for values in (a, b))
    if where is not None:
        both = where[..., :, None] & where[..., None, :]
        x, y = torch.where(both, x, 0.0), torch.where(both, y, 0.0)
    return (x * y).sum((-2, -1)) / (x.abs().sum((-2, -1)) * y.abs().sum((-2, -1))).sqrt()


def ndcg(
    predicted: Float[Tensor, "*batch list"],
    true: Float[Tensor, "*batch list"],
    k: int | None = None,
    *,
    where: Bool[Tensor, "*batch list"] | None = None,
) -> Float[Tensor, "*batch"]:
    """[...] normalised discounted cumulative gain of the k first by `predicted` (Järvelin & Kekäläinen 2002).

    The gain of an element is its true value above the smallest of its list, its discount log2(1 + rank). Elements that
    are predicted alike share the mean of the discounts of their places (McSherry & Najork 2008). NaN where all true
    values are equal.

    Args:
        k: how many; the whole list if None.
    """
    check(predicted, true, where)
    kept = torch.ones_like(true, dtype=torch.bool) if where is None else where
    known = torch.where(kept, true.double(), torch.inf)
    gain = torch.where(kept, known - known.amin(-1, keepdim=True), 0.0)
    length = predicted.shape[-1]
    place = torch.arange(1, length + 1, dtype=torch.float64, device=predicted.device)
    discount = torch.where(place <= (length if k is None else k), 1 / torch.log2(1 + place), 0.0)
    through = torch.cat([discount.new_zeros(1), discount.cumsum(0)])

    def discounted(order: Tensor) -> Tensor:
        first, last = places(order, where=where)
        mean = (through[last] - through[first]) / (last - first).clamp(min=1)
        return torch.where(kept & (gain > 0), gain * mean, 0.0).sum(-1)

    return _known(discounted(predicted) / discounted(true), predicted, true, where=where)


def top_k_recall(
    predicted: Float[Tensor, "*batch list"],
    true: Float[Tensor, "*batch list"],
    k: int | float,
    *,
    where: Bool[Tensor, "*batch list"] | None = None,
) -> Float[Tensor, "*batch"]:
    """[...] share of the k largest of `true` that are among the k largest of `predicted`; selection depends on it.

    Where values tie at the k-th place it is the mean over all ways to choose between them: a constant list on either
    side gives k / n, as chance does.

    Args:
        k: a number of elements (of a shorter list all count), or, below 1, a share of them, rounded down but at least
            one.

    Raises:
        ConfigError: k is not positive.
    """
    check(predicted, true, where)
    if not k > 0 or (k >= 1 and k != math.floor(k)):
        raise ConfigError(f"k must be a whole number >= 1 or a share between 0 and 1, got {k}")
    length = predicted.new_full((*predicted.shape[:-1], 1), predicted.shape[-1], dtype=torch.float64)
    length = length if where is None else where.sum(-1, keepdim=True).double()
    # A share that makes a whole number stays one: .53 of 100 is 53 - 7e-15.
    taken = (length * k * (1 + 1e-12)).floor().clamp(min=1) if k < 1 else length.clamp(max=k)

    def chance(values: Tensor) -> Tensor:  # of each element to be among the k largest
        before, through = places(values, where=where)
        inside = ((taken - before) / (through - before).clamp(min=1)).clamp(0, 1)
        return inside if where is None else inside * where

    recall = (chance(predicted) * chance(true)).sum(-1) / taken.squeeze(-1)
    return _known(recall, predicted, true, where=where)


def _known(found: Tensor, *lists: Tensor, where: Tensor | None) -> Tensor:
    """The metric, or NaN where a list holds one."""
    for values in lists:
        unknown = torch.isnan(values) if where is None else torch.isnan(values) & where
        found = torch.where(unknown.any(-1), torch.nan, found)
    return found


def _sign(values: Tensor) -> Tensor:
    """[..., list, list] 1 where the row's element is the larger, -1 where it is the smaller, NaN beside a NaN.

    By comparison: the difference of two equal infinities is no number.
    """
    row, column = values[..., :, None], values[..., None, :]
    sign = (row > column).double() - (row < column).double()
    return torch.where(torch.isnan(row) | torch.isnan(column), torch.nan, sign)


def _long_kendall(a: Tensor, b: Tensor, where: Tensor | None) -> Tensor:
    width = a.shape[-1]
    kept = torch.ones_like(a, dtype=torch.bool) if where is None else where
    rows = zip(*(t.detach().cpu().reshape(-1, width) for t in (a.double(), b.double(), kept)), strict=True)
    taus = [kendalltau(x[keep].numpy(), y[keep].numpy()).statistic for x, y, keep in rows]
    return torch.tensor(taus, dtype=torch.float64, device=a.device).reshape(a.shape[:-1])
