"""Soft ranks by projection onto the permutahedron: O(n log n) time, O(n) memory, hard ranks at a finite temperature."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lossrank.errors import ConfigError
from lossrank.ranking.isotonic import isotonic_heads
from lossrank.ranking.lists import comparable, finite, widened
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
        raise ConfigError(f"regularisation must be one of quadratic and entropic, got {regularisation!r}")
    if not temperature > 0:
        raise ConfigError(f"temperature must be > 0, got {temperature}")
    values = widened(values)
    if standardise:
        values, scale = comparable(values, where)
    else:
        values, scale = finite(values, where), values.new_ones((*values.shape[:-1], 1))
    if values.numel() == 0:
        return values
    return _projected(values, scale * temperature, where, regularisation)


def _projected(values: Tensor, scale: Tensor, where: Tensor | None, regularisation: str) -> Tensor:
    """The projection over all lists at once, sorted, in double precision: a block may be as long as its list."""
    order = ascending(values, where)  # the smallest value is the largest of the negated: it gets rank n
    length = order.shape[-1]
    count = torch.full_like(order[..., :1], length) if where is None else where.sum(-1, keepdim=True)
    per_list = count.clamp(min=1).double()
    if regularisation == "quadratic":  # ranks of 1 to n, so one normalised place is 1 / n
        scale = scale / per_list
    negated = -values.gather(-1, order).double() / scale
    ranks = (count - torch.arange(length, device=values.device)).double()
    heads = isotonic_heads(negated.detach(), ranks, count, regularisation == "entropic")

    def of_block(terms: Tensor) -> Tensor:  # each block's sum, at each of its elements
        return torch.zeros_like(terms).scatter_add(-1, heads, terms).gather(-1, heads)

    # The block's first value is taken off, so that its magnitude costs no precision; the result does not depend on it.
    level = negated - negated.detach().gather(-1, heads)
    if regularisation == "quadratic":
        found = level - (of_block(level) - of_block(ranks)) / of_block(torch.ones_like(level))
    else:
        mass = torch.exp(level)
        found = mass / of_block(mass) * of_block(ranks)
    found = torch.zeros_like(found).scatter(-1, order, found / per_list).to(values.dtype)
    return found if where is None else torch.where(where, found, 0.0)
