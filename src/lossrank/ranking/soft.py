"""Soft ranks: differentiable everywhere, exact in the limit of a small temperature."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["soft_ranks"]


def soft_ranks(values: Float[Tensor, "*batch list"], *, temperature: float = 0.1) -> Float[Tensor, "*batch list"]:
    """[..., list] descending normalised ranks: 1/n for the largest, 1 for the smallest, ties in between.

    The rank of i is half a place plus, over all j, the sigmoid of how far j is above i (Qin et al. 2010), O(n²). Values
    are divided by their list's standard deviation, detached, so scale and shift do not matter.

    Args:
        temperature: in standard deviations; towards 0 the ranks become hard.
    """
    # The scale of a constant list is zero; any scale ranks it, and this one keeps the gradient finite.
    scale = values.detach().std(-1, keepdim=True, unbiased=False)
    standard = values / torch.where(scale > 0, scale, torch.ones_like(scale))
    above = torch.sigmoid((standard[..., None, :] - standard[..., :, None]) / temperature)
    return (above.sum(-1) + 0.5) / values.shape[-1]
