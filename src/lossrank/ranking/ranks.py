"""Hard ranks."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.ranking.lists import counts

__all__ = ["ascending", "hard_ranks"]


def hard_ranks(
    values: Tensor,
    *,
    descending: bool = True,
    normalised: bool = True,
    ties: Literal["order", "average"] = "order",
    where: Tensor | None = None,
) -> Tensor:
    """[..., list] ranks over the last dimension. By default the largest of n gets 1/n, the smallest 1 (SoDeep).

    Args:
        descending: whether the largest comes first.
        normalised: whether ranks are divided by n.
        ties: `order` gives equal values distinct ranks, first come first; `average` gives them their mean rank.
        where: [..., list] which elements count; the others get rank 0, and n is how many count.

    Raises:
        ConfigError: ties are to be broken in another way.
    """
    key = -values if descending else values
    if where is not None:  # what does not count comes after everything, an infinity included
        key = torch.where(where, key, torch.inf if key.is_floating_point() else torch.iinfo(key.dtype).max)
    if ties == "average":
        ranks = _average_ranks(key, where)
    elif ties == "order":
        ranks = ascending(key, where).argsort(-1) + 1
    else:
        raise ConfigError(f"ties is {ties!r}; possible are order and average")
    ranks = ranks.to(values.dtype if values.is_floating_point() else torch.get_default_dtype())
    if where is not None:
        ranks = torch.where(where, ranks, 0.0)
    if not normalised:
        return ranks
    length = counts(values, where)
    return ranks / (length.clamp(min=1) if isinstance(length, Tensor) else length)


def ascending(key: Tensor, where: Tensor | None = None) -> Tensor:
    """[..., list] indices that sort each list, equal values in the order they come, what does not count last."""
    order = key.argsort(dim=-1, stable=True)
    if where is None:
        return order
    return order.gather(-1, (~where).gather(-1, order).to(torch.uint8).argsort(dim=-1, stable=True))


def _average_ranks(key: Tensor, where: Tensor | None) -> Tensor:
    ordered, key = key.sort(-1).values, key.contiguous()
    before = torch.searchsorted(ordered, key, right=False)
    through = torch.searchsorted(ordered, key, right=True)
    if where is not None:
        through = through.minimum(where.sum(-1, keepdim=True))
    return (before + through + 1) / 2
