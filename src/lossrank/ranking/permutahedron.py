"""Soft ranks by projection onto the permutahedron: O(n log n) time, O(n) memory, hard ranks at a finite temperature."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from lossrank.errors import ConfigError
from lossrank.ranking.isotonic import entropic_blocks, quadratic_blocks
from lossrank.ranking.lists import comparable, finite
from lossrank.ranking.ranks import ascending

__all__ = ["permutahedron_ranks"]


def permutahedron_ranks(
    values: Float[Tensor, "*batch list"],
    *,
    temperature: float = 1.0,
    regularisation: Literal["quadratic", "entropic"] = "quadratic",
    where: Bool[Tensor, "*batch list"] | None = None,
    standardise: bool = True,
) -> Float[Tensor, "*batch list"]:
    """[..., list] descending normalised ranks: 1/n for the largest, 1 for the smallest, ties in between.

    Blondel et al. 2020, Fast Differentiable Sorting and Ranking, equation 7: the projection of -values / temperature
    onto the convex hull of all orders of (1, ..., 1/n). The ranks of a list always sum to (n + 1) / 2. Quadratic ranks
    are the hard ones, exactly, once neighbouring values are `temperature / n` apart; entropic ones once the largest and
    the next are `temperature * log 2` apart, the next two `temperature * log 3/2`, and so on.

    Which elements are pooled is found on the CPU, in double precision; all else stays on the values' device.

    Args:
        temperature: in standard deviations of the list, or in the values' unit without `standardise`.
        regularisation: `quadratic` (Euclidean projection) or `entropic` (Kullback-Leibler, never flat inside a block).
        where: which elements count; the others get rank 0 and no gradient.
        standardise: divide each list by its standard deviation, detached.

    Raises:
        ConfigError: another regularisation, or a temperature that is not above 0.
    """
    if regularisation not in ("quadratic", "entropic"):
        raise ConfigError(f"regularisation is {regularisation!r}; possible are quadratic and entropic")
    if not temperature > 0:
        raise ConfigError(f"temperature is {temperature}; possible is a number above 0")
    if standardise:
        values, scale = comparable(values, where)
    else:
        values, scale = finite(values, where), values.new_ones((*values.shape[:-1], 1))
    if values.numel() == 0 or (where is not None and not bool(where.any())):
        return torch.where(torch.zeros_like(values, dtype=torch.bool), values, 0.0)
    ranks: Tensor = _Projection.apply(values, scale * temperature, where, regularisation)  # type: ignore[no-untyped-call]
    return ranks


class _Projection(torch.autograd.Function):
    """The projection over all lists at once: what counts of them is laid end to end, sorted within each."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, where: Tensor | None, regularisation: str) -> Tensor:
        order = ascending(values, where)  # the smallest value is the largest of the negated: it gets rank n
        length = order.shape[-1]
        place = torch.arange(length, device=values.device).expand_as(order)
        if where is None:
            count = torch.full_like(order[..., :1], length)
            kept = None
        else:
            count = where.sum(-1, keepdim=True)
            kept = place < count
        per_list = count.clamp(min=1).to(values.dtype)
        if regularisation == "quadratic":  # ranks of 1 to n, so one normalised place is 1 / n
            scale = scale / per_list
        # In double precision: a block may be as long as the list, and its mean is what ranks are made of.
        negated = _flat(-values.gather(-1, order).double() / scale, kept)
        ranks = _flat(count - place, kept).double()
        starts = _starts(count)
        projected, saved = _project(negated, ranks, starts, regularisation)
        ctx.save_for_backward(order, scale * per_list, kept, *saved)
        projected = (_spread(projected, kept, order) / per_list).to(values.dtype)
        return torch.empty_like(values).scatter_(-1, order, projected)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        order, scale, kept, block, heads, *shares = ctx.saved_tensors
        flat = _flat(gradient.gather(-1, order).double(), kept)
        if shares:  # entropic: shares of each block, and ranks
            share, ranks = shares
            flat = flat * ranks
            flat = flat - share * _sums(flat, block, heads)[block]
        else:
            size = torch.bincount(block, minlength=len(heads)).to(flat.dtype)
            flat = flat - (_sums(flat, block, heads) / size)[block]
        back = (_spread(flat, kept, order) / -scale).to(gradient.dtype)
        return torch.empty_like(gradient).scatter_(-1, order, back), None, None, None


def _project(
    negated: Tensor, ranks: Tensor, starts: np.ndarray[Any, Any], regularisation: str
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Projections [N] of descending sequences, and what their gradient needs: blocks, and for entropic ones shares."""
    z, w = negated.cpu().numpy(), ranks.cpu().numpy()
    pooled = quadratic_blocks(z - w, starts) if regularisation == "quadratic" else entropic_blocks(z, w, starts)
    heads = torch.from_numpy(pooled).to(negated.device)
    lengths = torch.diff(heads, append=heads.new_tensor([len(negated)]))
    block = torch.repeat_interleave(torch.arange(len(heads), device=heads.device), lengths)
    if regularisation == "quadratic":
        # The block's first value is taken off before the mean, so that its magnitude costs no precision.
        level = negated - negated[heads][block]
        mean = (_sums(level, block, heads) - _sums(ranks, block, heads)) / lengths
        return level - mean[block], (block, heads)
    mass = torch.exp(negated - negated[heads][block])
    share = mass / _sums(mass, block, heads)[block]
    projected = share * _sums(ranks, block, heads)[block]
    return projected, (block, heads, share, projected)


def _starts(count: Tensor) -> np.ndarray[Any, Any]:
    lengths: np.ndarray[Any, Any] = count.flatten().cpu().numpy()
    starts: np.ndarray[Any, Any] = (np.cumsum(lengths) - lengths)[lengths > 0]
    return starts


def _sums(values: Tensor, block: Tensor, heads: Tensor) -> Tensor:
    return values.new_zeros(len(heads)).index_add_(0, block, values)


def _flat(values: Tensor, kept: Tensor | None) -> Tensor:
    return values.reshape(-1) if kept is None else values[kept]


def _spread(flat: Tensor, kept: Tensor | None, order: Tensor) -> Tensor:
    return flat.view(order.shape) if kept is None else flat.new_zeros(order.shape).masked_scatter_(kept, flat)
