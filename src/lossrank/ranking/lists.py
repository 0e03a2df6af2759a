"""Lists with holes: what every rank, loss and metric does with masks, weights, infinities and reduction.

A mask `where` [..., list] keeps an element where it is True. Whatever is computed from a masked list equals what the
list gives with the others cut out.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossrank.errors import ConfigError

__all__ = ["Reduction", "average", "check", "comparable", "counts", "finite", "reduced"]

Reduction = Literal["mean", "sum", "none"]


def check(predicted: Tensor, target: Tensor, where: Tensor | None, weights: Tensor | None = None) -> None:
    """Refuse tensors that are not lists over the same elements.

    Raises:
        ConfigError: a shape differs, or a number where a list is expected.
    """
    if predicted.ndim == 0:
        raise ConfigError("a ranking needs lists [..., list]; found a single number")
    for name, other in (("target", target), ("where", where), ("weights", weights)):
        if other is not None and other.shape != predicted.shape:
            raise ConfigError(
                f"lists are {list(predicted.shape)} and {name} is {list(other.shape)}; expected the same shape"
            )


def counts(values: Tensor, where: Tensor | None) -> Tensor | int:
    """Elements of each list: its length, or [..., 1] how many the mask keeps."""
    return values.shape[-1] if where is None else where.sum(-1, keepdim=True)


def average(terms: Tensor, where: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """[...] weighted mean over each list of `terms` [..., list]; 0 for a list without any weight."""
    if where is None and weights is None:
        return terms.mean(-1) if terms.shape[-1] else terms.sum(-1)
    share = torch.ones_like(terms) if weights is None else weights.to(terms.dtype)
    if where is not None:
        share, terms = share * where, torch.where(where, terms, 0.0)
    total = share.sum(-1)
    return (share * terms).sum(-1) / torch.where(total == 0, 1.0, total)


def reduced(per_list: Tensor, reduction: Reduction) -> Tensor:
    """The losses of all lists [...] as they are, their mean or their sum.

    Raises:
        ConfigError: another reduction.
    """
    if reduction == "mean":
        return per_list.mean()
    if reduction == "sum":
        return per_list.sum()
    if reduction == "none":
        return per_list
    raise ConfigError(f"reduction is {reduction!r}; possible are mean, sum and none")


def comparable(values: Tensor, where: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The lists with their infinities drawn in (`finite`), and the scale [..., 1] of each: its standard deviation.

    The scale is detached, is of the kept and finite values only, and 1 where that is 0: any scale ranks a constant.
    """
    if where is None and values.shape[-1]:
        scale = values.detach().std(-1, keepdim=True, unbiased=False)
        # One infinity or NaN makes its list's deviation NaN, so this one look settles all lists in the common case.
        low, high = (scale.item(),) * 2 if scale.numel() == 1 else (scale.amin().item(), scale.sum().item())
        if low > 0 and high < float("inf"):
            return values, scale
    plain = values.detach()
    kept = torch.isfinite(plain) if where is None else torch.isfinite(plain) & where
    mean = average(plain, kept)[..., None]
    scale = average((plain - mean).square(), kept)[..., None].sqrt()
    return finite(values, where), torch.where((scale > 0) & torch.isfinite(scale), scale, 1.0)


def finite(values: Tensor, where: Tensor | None = None) -> Tensor:
    """The same lists with infinities drawn in to just beyond the finite values, where they keep their order.

    No gradient reaches an infinity. NaN stays NaN.
    """
    if bool(torch.isfinite(values).all()):
        return values
    kept = torch.isfinite(values) if where is None else torch.isfinite(values) & where
    known, plain = kept.any(-1, keepdim=True), values.detach()
    most = torch.where(known, torch.where(kept, plain, -torch.inf).amax(-1, keepdim=True), 0.0)
    least = torch.where(known, torch.where(kept, plain, torch.inf).amin(-1, keepdim=True), 0.0)
    beyond = most - least + 1
    values = torch.where(plain == torch.inf, most + beyond, values)
    return torch.where(plain == -torch.inf, least - beyond, values)
