"""Soft ranks by differentiable sorting networks, through the package `diffsort`. Nothing else needs it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lossrank.errors import ConfigError, MissingExtra
from lossrank.ranking.lists import comparable, widened

__all__ = ["diffsort_ranks"]


def diffsort_ranks(
    values: Tensor,
    *,
    network: Literal["bitonic", "odd_even"] = "odd_even",
    steepness: float = 10.0,
    distribution: str = "cauchy",
) -> Tensor:
    """[..., list] descending normalised ranks from the relaxed permutation matrix of a sorting network.

    Petersen et al. 2021 and 2022, Differentiable Sorting Networks. Memory O(n²) a layer: n layers for odd-even,
    log² n for bitonic, which takes powers of two only. Each list is divided by its standard deviation, detached.

    Args:
        steepness: of the relaxed swap; larger = harder.
        distribution: of the relaxed swap, as `diffsort` names them.

    Raises:
        MissingExtra: `diffsort` is not installed.
        ConfigError: a bitonic network over a length that is no power of two.
    """
    try:
        from diffsort import DiffSortNet
    except ImportError:
        raise MissingExtra("diffsort", "diffsort", "ranking by a sorting network") from None
    length = values.shape[-1]
    if network == "bitonic" and length & (length - 1):
        raise ConfigError(f"a bitonic network sorts lists of 2, 4, 8, ...; this one has {length}. Possible: odd_even")
    if length < 2:
        return torch.where(torch.zeros_like(values, dtype=torch.bool), values, 1.0)
    values, scale = comparable(widened(values))
    sorter = DiffSortNet(network, length, device=str(values.device), steepness=steepness, distribution=distribution)
    _, permutation = sorter((values / scale).reshape(-1, length))  # [lists, i, j]: how much of i comes to place j
    falling = torch.arange(length, 0, -1, device=values.device, dtype=values.dtype) / length
    ranks: Tensor = (permutation @ falling).reshape(values.shape)
    return ranks
