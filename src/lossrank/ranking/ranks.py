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
) -> Tensor:
    """[..., list] ranks over the last dimension. By default the largest of n gets 1/n, the smallest 1 (SoDeep).

    Args:
        descending: whether the largest comes first.
        normalised: whether ranks are divided by n.
        ties: `order` gives equal values distinct ranks, first come first; `average` gives them their mean rank.
    """
    key = -values if descending else values
    length = values.shape[-1]
    if ties == "average":
        ordered, key = key.sort(-1).values, key.contiguous()
        before = torch.searchsorted(ordered, key, right=False)
        through = torch.searchsorted(ordered, key, right=True)
        ranks = (before + through + 1) / 2
    else:
        ranks = torch.sort(key, dim=-1, stable=True).indices.argsort(-1) + 1
    ranks = ranks.to(values.dtype if values.is_floating_point() else torch.get_default_dtype())
    return ranks / length if normalised else ranks
