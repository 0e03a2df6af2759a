"""Hard ranks."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.ranking.lists import counts, widened

__all__ = ["ascending", "hard_ranks", "places"]


def hard_ranks(
    values: Tensor,
    *,
    descending: bool = True,
    normalised: bool = True,
    ties: Literal["average", "order"] = "average",
    where: Tensor | None = None,
) -> Tensor:
    """[..., list] ranks over the last dimension. By default the largest of n gets 1/n, the smallest 1.

    A list with a NaN has no order: all its ranks are NaN, as in `scipy.stats.rankdata`.

    Args:
        values: half precision is ranked in float32, which has room for ranks above 2,048.
        descending: whether the largest comes first.
        normalised: whether ranks are divided by n.
        ties: `average` gives equal values their mean rank, so that their order in the list has no say; `order` gives
            them distinct ranks, first come first, as argsort does (SoDeep's code).
        where: [..., list] which elements count; the others get rank 0, and n is how many count.

    Raises:
        ConfigError: ties are to be broken in another way.
    """
    if ties == "average":
        before, through = places(values, descending=descending, where=where)
        ranks = (before + through + 1) / 2
    elif ties == "order":
        ranks = ascending(-values if descending else values, where).argsort(-1) + 1
    else:
        raise ConfigError(f"ties must be one of average and order, got {ties!r}")
    ranks = ranks.to(widened(values).dtype if values.is_floating_point() else torch.get_default_dtype())
    unknown = torch.isnan(values) if where is None else torch.isnan(values) & where
    ranks = torch.where(unknown.any(-1, keepdim=True), torch.nan, ranks)
    if where is not None:
        ranks = torch.where(where, ranks, 0.0)
    if not normalised:
        return ranks
    length = counts(values, where)
    return ranks / (length.clamp(min=1) if isinstance(length, Tensor) else length)


def places(values: Tensor, *, descending: bool = True, where: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """[..., list] how many of the list come before each element, and how many come before it or are equal to it.

    What does not count comes after everything; its own numbers mean nothing.
    """
    key = -values if descending else values
    if where is not None:  # after everything, an infinity included
        key = torch.where(where, key, torch.inf if key.is_floating_point() else torch.iinfo(key.dtype).max)
    ordered, key = key.sort(-1).values, key.contiguous()
    before = torch.searchsorted(ordered, key, right=False)
    through = torch.searchsorted(ordered, key, right=True)
    return before, through if where is None else through.minimum(where.sum(-1, keepdim=True))


def ascending(key: Tensor, where: Tensor | None = None) -> Tensor:
    """[..., list] indices that sort each list, equal values in the order they come, what does not count last."""
    if where is not None:
        key = torch.where(where, key, torch.inf if key.is_floating_point() else torch.iinfo(key.dtype).max)
    order = key.argsort(dim=-1, stable=True)
    if where is None:
        return order
    return order.gather(-1, (~where).gather(-1, order).to(torch.uint8).argsort(dim=-1, stable=True))
