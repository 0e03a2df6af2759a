"""Keeping a batch from being one sample many times: near-duplicates out, and a spread over the top of a ranking."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lossrank.errors import StrategyError, unknown_name
from lossrank.strategies.k_center import k_center_greedy
from lossrank.strategies.k_means import factored_k_means_plus_plus

__all__ = ["SPREADS", "spread_rows", "typical_distance", "without_copies"]

SPREADS = ("k-center", "k-means++")
BLOCK = 1024  # rows of a ranking looked at together


def spread_rows(embedding: Tensor, n: int, how: str, generator: torch.Generator) -> list[int]:
    """n rows of [N, D] that lie far from each other, the first row among them and in front.

    Raises:
        StrategyError: another way than those in `SPREADS`.
    """
    if how not in SPREADS:
        raise StrategyError(unknown_name("diversity", how, SPREADS))
    if how == "k-center":
        return k_center_greedy(embedding, embedding[:0], n)
    return factored_k_means_plus_plus((embedding,), n, generator, first=0)


def typical_distance(embedding: Tensor) -> float:
    """Root of the mean squared distance of two random rows of [N, D]: twice the variance, summed over columns.

    A block of rows at a time, so that nothing as large as the embedding is made.
    """
    blocks = torch.split(embedding, BLOCK)
    centre = blocks[0].double().mean(0)  # near the mean: what is squared below is a spread, not a position
    total, squares = torch.zeros_like(centre), 0.0
    for block in blocks:
        shifted = block.double() - centre
        total += shifted.sum(0)
        squares += float(shifted.square().sum())
    variance = squares / len(embedding) - float((total / len(embedding)).square().sum())
    return math.sqrt(max(2 * variance, 0.0))


def without_copies(embedding: Tensor, order: Sequence[int], known: Tensor, least: float, n: int) -> list[int]:
    """The first n rows of a ranking, each `least` or farther from those before it and from what is known.

    Near-duplicates follow, in their order, only where fewer than n others are left.

    Args:
        embedding: [N, D].
        order: rows, the best in front.
        known: [M, D] what is labelled.
        least: a Euclidean distance.
    """
    taken = [known.double()] if len(known) else []
    kept: list[int] = []
    copies: list[int] = []
    for start in range(0, len(order), BLOCK):
        rows = list(order[start : start + BLOCK])
        own = embedding[rows].double()
        near = torch.zeros(len(rows), dtype=torch.bool)
        for others in taken:
            near |= (torch.cdist(own, others) < least).any(1)
        close = torch.cdist(own, own, compute_mode="donot_use_mm_for_euclid_dist") < least
        fresh: list[int] = []
        for place, row in enumerate(rows):
            if near[place]:
                copies.append(row)
                continue
            fresh.append(place)
            near |= close[place]
        kept += [rows[place] for place in fresh]
        taken.append(own[fresh])
        if len(kept) >= n:
            return kept[:n]
    return [*kept, *copies][:n]
