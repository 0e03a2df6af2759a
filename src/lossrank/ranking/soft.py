"""Soft ranks: differentiable everywhere, exact in the limit of a small temperature."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from lossrank.ranking.lists import comparable, finite

__all__ = ["soft_ranks"]


def soft_ranks(
    values: Float[Tensor, "*batch list"],
    *,
    temperature: float = 0.1,
    where: Bool[Tensor, "*batch list"] | None = None,
    standardise: bool = True,
) -> Float[Tensor, "*batch list"]:
    """[..., list] descending normalised ranks: 1/n for the largest, 1 for the smallest, ties in between.

    The rank of i is half a place plus, over all j, the sigmoid of how far j is above i (Qin et al. 2010); time and
    memory O(n²). `permutahedron_ranks` is for long lists.

    Args:
        temperature: in standard deviations; towards 0 the ranks become hard.
        where: which elements count; the others get rank 0 and no gradient.
        standardise: divide each list by its standard deviation, detached, so that neither scale nor shift of the values
            matters. Otherwise the temperature is in the values' own unit.
    """
    if standardise:
        values, scale = comparable(values, where)
    else:
        values, scale = finite(values, where), values.new_ones((*values.shape[:-1], 1))
    ranks: Tensor = _PairwiseRanks.apply(values, scale * temperature, where)  # type: ignore[no-untyped-call]
    return ranks


class _PairwiseRanks(torch.autograd.Function):
    """Ranks from the sigmoids of all differences; the backward pass reads the same matrix.

    The sigmoid's derivative D is symmetric, so the gradient of the loss by value k is
    sum_i D[i, k] (g[i] - g[k]) / scale, for the gradients g by rank.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, where: Tensor | None) -> Tensor:
        standard = values / scale
        above = torch.sigmoid(standard[..., None, :] - standard[..., :, None])
        if where is None:
            length: Tensor | int = max(1, values.shape[-1])
            ranks = above.mean(-1).add_(0.5 / length)
        else:
            length = where.sum(-1, keepdim=True).clamp(min=1)
            above = above * where[..., None, :] * where[..., :, None]
            ranks = torch.where(where, (above.sum(-1) + 0.5) / length, 0.0)
        ctx.save_for_backward(above, scale)
        ctx.length, ctx.where = length, where
        return ranks

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        above, scale = ctx.saved_tensors
        if ctx.where is not None:
            gradient = torch.where(ctx.where, gradient, 0.0)
        slope = torch.addcmul(above, above, above, value=-1)
        apart = gradient[..., None, :] - gradient[..., :, None]
        return slope.mul_(apart).sum(-1).div_(scale * ctx.length), None, None
