"""LCMD: the farthest sample of the cluster that is farthest from its centre in all. Made for regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lossrank.errors import StrategyError
from lossrank.ledger import SampleId
from lossrank.requirements import require_count
from lossrank.signals import Signals
from lossrank.strategies.base import Strategy

__all__ = ["LCMD", "largest_cluster_maximum_distance"]

BLOCK = 4096  # rows held to all centres at once


@dataclass(frozen=True)
class LCMD(Strategy):
    """Largest cluster, maximum distance: between core-set, which runs after outliers, and k-means++, which draws.

    Everything labelled or picked is the centre of the candidates nearest to it. The next pick is, in the cluster with
    the largest sum of squared distances to its centre, the candidate farthest from it (Holzmüller et al. 2023, their
    LCMD-TP, the best of the rules they compare over 15 regression data sets). The kernel is that of the last layer's
    gradient, which for a regression is the embedding; no uncertainty and no class is needed.
    """

    name: ClassVar[str] = "lcmd"
    needs: ClassVar[frozenset[str]] = frozenset({"embedding"})
    needs_labelled: ClassVar[frozenset[str]] = frozenset({"embedding"})
    cost: ClassVar[str] = "one pass over candidates and labelled, then distances of all candidates for each pick"
    paper: ClassVar[str] = (
        "Holzmüller et al., A Framework and Benchmark for Deep Batch Active Learning for Regression, JMLR 2023"
    )

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> list[SampleId]:
        signals.require(n)
        ordered = signals.sorted()
        embedding = ordered.finite("embedding")
        centres = labelled.sorted().finite("embedding") if len(labelled) else embedding[:0]
        return [ordered.ids[row] for row in largest_cluster_maximum_distance(embedding, centres, n)]


def largest_cluster_maximum_distance(features: Tensor, centres: Tensor, n: int) -> list[int]:
    """Rows of [N, D] in the order picked; memory O(N) beside the features, time O(N D) a pick.

    Without centres the row with the largest norm is picked first. Ties go to the first centre and to the first row; no
    row is picked twice, even where every distance is zero.

    Args:
        features: [N, D].
        centres: [M, D]; M may be 0.
        n: how many rows, at most N.

    Raises:
        StrategyError: n is out of range, the widths differ, or a value is not finite.
    """
    require_count("n", n, 0, len(features), error=StrategyError)
    if len(centres) and centres.shape[1:] != features.shape[1:]:
        raise StrategyError(f"candidates are {features.shape[1]} wide, centres {centres.shape[1]}")
    points = features.detach().cpu()
    dtype = torch.float64 if points.dtype == torch.float64 else torch.float32
    squares = torch.cat([part.to(dtype).square().sum(1) for part in torch.split(points, BLOCK)])
    nearest, cluster = _assigned(points, centres.to("cpu", dtype))
    if not bool(torch.isfinite(4 * squares).all() and (torch.isfinite(nearest).all() or not len(centres))):
        raise StrategyError("features are not finite, or so large that their squared distances are not")
    free = torch.ones(len(points), dtype=torch.bool)
    picked: list[int] = []
    while len(picked) < n:
        row = _next(nearest, cluster, free, squares)
        picked.append(row)
        free[row] = False
        distance = (squares - 2 * _products(points, points[row].to(dtype)) + squares[row]).clamp_(min=0)
        distance[row] = 0.0
        closer = distance < nearest
        nearest[closer] = distance[closer]
        cluster[closer] = len(centres) + len(picked) - 1
    return picked


def _assigned(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row the squared distance [N] to its nearest centre, and which one [N]."""
    if not len(centres):
        return torch.full((len(points),), torch.inf, dtype=centres.dtype), torch.zeros(len(points), dtype=torch.long)
    parts = [torch.cdist(part.to(centres), centres).min(1) for part in torch.split(points, BLOCK)]
    return torch.cat([p.values for p in parts]).square(), torch.cat([p.indices for p in parts])


def _products(points: Tensor, one: Tensor) -> Tensor:
    """Inner products [N] of all rows with one, in its precision; rows of another are converted a block at a time."""
    if points.dtype == one.dtype:
        return points @ one
    return torch.cat([part.to(one) @ one for part in torch.split(points, BLOCK)])


def _next(nearest: Tensor, cluster: Tensor, free: Tensor, squares: Tensor) -> int:
    if torch.isinf(nearest[0]):  # no centre yet: everything else is finite
        return int(squares.argmax())
    mass = torch.bincount(cluster, weights=nearest.double() * free)
    if not float(mass.max()) > 0:
        return int(free.int().argmax())
    inside = free & (cluster == int(mass.argmax()))
    return int(torch.where(inside, nearest, -1.0).argmax())
