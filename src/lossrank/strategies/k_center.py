"""Greedy k-center: pick again and again the point farthest from everything picked so far."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lossrank.errors import StrategyError

__all__ = ["k_center_greedy"]


def k_center_greedy(
    features: Tensor | npt.NDArray[np.floating], centres: Tensor | npt.NDArray[np.floating], n: int
) -> list[int]:
    """Rows of `features`, in the order picked; memory O(N) beside the features (Sener & Savarese 2018, algorithm 1).

    Without centres the first row is picked first. Among rows equally far away the first is picked; a row is never
    picked twice, even where every distance is zero.

    Args:
        features: [N, D] the candidates.
        centres: [M, D] what is labelled already; M may be 0.
        n: how many rows, at most N.

    Raises:
        StrategyError: n is out of range, or the widths differ.
    """
    candidates, known = torch.as_tensor(features), torch.as_tensor(centres)
    if not 0 <= n <= len(candidates):
        raise StrategyError(f"asked for {n} centres; between 0 and the {len(candidates)} candidates are possible")
    if len(known) and known.shape[1] != candidates.shape[1]:
        raise StrategyError(f"candidates are {candidates.shape[1]} wide, centres {known.shape[1]}")
    squares = candidates.square().sum(1)
    nearest = torch.full_like(squares, torch.inf)
    for centre in known.to(candidates.dtype):
        _shrink(nearest, candidates, squares, centre)
    picked: list[int] = []
    while len(picked) < n:
        row = int(nearest.argmax())
        picked.append(row)
        _shrink(nearest, candidates, squares, candidates[row])
        nearest[row] = -torch.inf
    return picked


def _shrink(nearest: Tensor, candidates: Tensor, squares: Tensor, centre: Tensor) -> None:
    """Update each candidate's squared distance to its nearest centre, in place; one matrix-vector product."""
    distance = (squares - 2 * (candidates @ centre) + centre @ centre).clamp_(min=0)
    torch.minimum(nearest, distance, out=nearest)
