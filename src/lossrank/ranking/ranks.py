"""Hard ranks."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["hard_ranks"]


def hard_ranks(
    values: Tensor,
    *,
    descending: bool = True,
    normalised: bool = True,
    ties: Literal["order", "average"] = "order",
    where: Tensor | None = None,
) -> Tensor:
    """Ranks over the last dimension. By default the largest of L values gets 1/L and the smallest 1 (SoDeep)."""
    where = torch.ones_like(values, dtype=torch.bool) if where is None else where
    key = values if descending else -values
    key = key.masked_fill(~where, -torch.inf)
    order = torch.argsort(torch.stack([key]), dim=-1, descending=True, stable=True)[0]
    ranks = torch.argsort(order, dim=-1).to(values.dtype) + 1
    if ties == "average":
        first = torch.searchsorted(key.sort(-1).values, key, right=False)
        last = torch.searchsorted(key.sort(-1).values, key, right=True)
        ranks = values.shape[-1] - (first + last - 1).to(values.dtype) / 2
    return ranks / where.sum(-1, keepdim=True).clamp(min=1) if normalised else ranks
