"""Soft ranks: differentiable everywhere, exact in the limit of a small temperature."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lossrank.ranking.lists import comparable, finite, widened

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
        values: half precision is ranked in float32.
        temperature: in standard deviations; towards 0 the ranks become hard.
        where: which elements count; the others get rank 0 and no gradient.
        standardise: divide each list by its standard deviation, detached, so that neither scale nor shift of the values
            matters. Otherwise the temperature is in the values' own unit.
    """
    values = widened(values)
    if standardise:
        values, scale = comparable(values, where)
        values = values / scale
    else:
        values = finite(values, where)
    values = values / temperature
    above = torch.sigmoid(values[..., None, :] - values[..., :, None])  # [..., i, j]: how far j is above i
    if where is None:
        return above.mean(-1) + 0.5 / max(1, values.shape[-1])
    length = where.sum(-1, keepdim=True).clamp(min=1)
    above = above * where[..., None, :]
    return torch.where(where, (above.sum(-1) + 0.5) / length, 0.0)
