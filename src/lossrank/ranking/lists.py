"""Lists with masks: what every rank, loss and metric does with masks, weights, precision, infinities and reduction.

A mask `where` [..., list] keeps an element where it is True. Whatever is computed from a masked list equals what the
list gives with the others cut out. No branch depends on a value: nothing waits for a GPU or breaks a compiled graph,
and `torch.func.vmap` works.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossrank.errors import ConfigError

__all__ = [
    "Reduction",
    "average",
    "check",
    "comparable",
    "counts",
    "finite",
    "is_ordered",
    "power_of_two",
    "prepared",
    "reduced",
    "widened",
]

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


def prepared(
    predicted: Tensor, target: Tensor, where: Tensor | None, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Both lists checked and in at least single precision, the true losses detached.

    Raises:
        ConfigError: as `check`.
    """
    check(predicted, target, where, weights)
    target = target.detach()
    return widened(predicted), widened(target if target.is_floating_point() else target.to(predicted.dtype))


def widened(values: Tensor) -> Tensor:
    """Half-precision values in float32, where ranks above 2,048 and squares have room; others as they are."""
    return values.float() if values.is_floating_point() and values.dtype.itemsize < 4 else values


def counts(values: Tensor, where: Tensor | None) -> Tensor | int:
    """Elements of each list: its length, or [..., 1] how many the mask keeps."""
    return values.shape[-1] if where is None else where.sum(-1, keepdim=True)


def average(terms: Tensor, where: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """[...] weighted mean over each list of `terms` [..., list]; 0 for a list without any weight."""
    if where is None and weights is None:
        return terms.mean(-1) if terms.shape[-1] else terms.sum(-1)
    share = torch.ones_like(terms) if weights is None else weights.to(terms.dtype)
    share = share if where is None else share * where
    total = share.sum(-1)
    counted = torch.where(share != 0, terms, 0.0)  # an infinite term of weight 0 counts for nothing
    return (share * counted).sum(-1) / torch.where(total == 0, 1.0, total)


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
    raise ConfigError(f"reduction must be one of mean, sum and none, got {reduction!r}")


def is_ordered(values: Tensor, where: Tensor | None = None) -> Tensor:
    """[...] whether a list has two different values; a constant list has no order. True where a value is NaN."""
    if not values.shape[-1]:
        return torch.zeros(values.shape[:-1], dtype=torch.bool, device=values.device)
    low = values if where is None else torch.where(where, values, torch.inf)
    high = values if where is None else torch.where(where, values, -torch.inf)
    return ~(high.amax(-1) <= low.amin(-1))


def power_of_two(values: Tensor) -> Tensor:
    """[..., 1] the power of two at or next below the largest magnitude of each list; 1 for a list of zeros.

    To divide by it is exact, and squares of what is then below 2 neither overflow nor vanish.
    """
    return _power_below(values.detach().abs().amax(-1, keepdim=True))


def comparable(values: Tensor, where: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The lists with their infinities drawn in (`finite`), and the scale [..., 1] of each: its standard deviation.

    The scale is detached, is of the kept and finite values only, and 1 where that is 0: any scale ranks a constant.
    """
    if not values.shape[-1]:
        return values, values.new_ones((*values.shape[:-1], 1))
    kept, plain = _known(values, where)
    largest = plain.abs().amax(-1, keepdim=True)
    unit, number = _power_below(largest), kept.sum(-1, keepdim=True).clamp(min=1)
    plain = plain / unit
    deviation = (plain - plain.sum(-1, keepdim=True) / number) * kept
    scale = (deviation.square().sum(-1, keepdim=True) / number).sqrt() * unit
    scale = torch.where(scale > 0, scale.clamp(min=1e4 * torch.finfo(scale.dtype).tiny), 1.0)
    return _drawn_in(values, largest, where), scale


def finite(values: Tensor, where: Tensor | None = None) -> Tensor:
    """The same lists with infinities drawn in to just beyond the finite values, where they keep their order.

    No gradient reaches an infinity. NaN stays NaN. What does not count becomes 0.
    """
    if not values.shape[-1]:
        return values
    return _drawn_in(values, _known(values, where)[1].abs().amax(-1, keepdim=True), where)


def _known(values: Tensor, where: Tensor | None) -> tuple[Tensor, Tensor]:
    """What counts and is finite, and the values, detached, with 0 in place of the others."""
    kept = torch.isfinite(values) if where is None else torch.isfinite(values) & where
    return kept, torch.where(kept, values.detach(), 0.0)


def _drawn_in(values: Tensor, largest: Tensor, where: Tensor | None) -> Tensor:
    bound = (2 * largest + 1).clamp(max=torch.finfo(values.dtype).max)
    values = values.clamp(-bound, bound)
    return values if where is None else torch.where(where, values, 0.0)


def _power_below(largest: Tensor) -> Tensor:
    mantissa, _ = torch.frexp(largest)  # between 1/2 and 1
    return torch.where(largest > 0, largest / torch.where(largest > 0, 2 * mantissa, 1.0), 1.0)
