"""ProbCover: for small budgets, balls in the embedding that together cover the most samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lossrank.errors import StrategyError
from lossrank.ledger import SampleId
from lossrank.signals import Signals
from lossrank.strategies.base import Strategy
from lossrank.strategies.k_means import k_means_clusters
from lossrank.strategies.typiclust import unit_embeddings

__all__ = ["ProbCover", "greedy_cover", "pure_radius"]

BLOCK = 512  # rows held to all others at once
ANCHORS = 4096  # balls whose purity is measured; of more samples, so many are drawn
SAME = 1e-3  # unit vectors closer than this are not told apart in float32
EVERYWHERE = 2.5  # no two unit vectors are so far apart


@dataclass(frozen=True)
class ProbCover(Strategy):
    """For small budgets: greedy choice of the balls that cover the most samples not yet covered.

    Yehuda et al. 2022. The radius is the largest at which 95 % of the balls hold one k-means cluster only. The graph of
    who covers whom is not kept: a sample's neighbours are computed when it is first covered, so that memory is
    O(N x D) at any radius. Once all is covered, the rest is drawn uniformly.
    """

    delta: float | None = None
    """Radius of a ball among embeddings of unit length, above 0 and at most 2; None: chosen by purity."""
    clusters: int = 10
    """Clusters that stand for classes when the radius is chosen: give the number of classes."""
    purity: float = 0.95
    """Share of the balls that must be pure when the radius is chosen (the paper's alpha)."""

    name: ClassVar[str] = "probcover"
    needs: ClassVar[frozenset[str]] = frozenset({"embedding"})
    needs_labelled: ClassVar[frozenset[str]] = frozenset({"embedding"})
    cost: ClassVar[str] = "one pass over candidates and labelled, then every distance among candidates once or twice"
    paper: ClassVar[str] = "Yehuda et al., Active Learning Through a Covering Lens, NeurIPS 2022"

    def __post_init__(self) -> None:
        if self.delta is not None and not 0 < self.delta <= 2:
            raise StrategyError(f"probcover: delta must lie above 0 and at most at 2; found {self.delta}")
        if self.clusters < 1 or not 0 < self.purity <= 1:
            raise StrategyError(
                "probcover: clusters must be at least 1 and purity above 0 and at most 1; "
                f"found {self.clusters} and {self.purity}"
            )

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> list[SampleId]:
        signals.require(n)
        ordered = signals.sorted()
        points = unit_embeddings(ordered, labelled)
        embedding, known = points[: len(ordered)], points[len(ordered) :]
        delta = self.delta
        if delta is None:
            delta = pure_radius(points, self.clusters, self.purity, generator)
        rows = greedy_cover(embedding, known, delta, n)
        if len(rows) < n:
            order = torch.randperm(len(ordered), generator=generator).numpy()
            rows += order[~np.isin(order, rows)][: n - len(rows)].tolist()
        return [ordered.ids[row] for row in rows]


def pure_radius(points: Tensor, clusters: int, purity: float, generator: torch.Generator) -> float:
    """The largest radius at which a share `purity` of the balls holds members of one k-means cluster only.

    A ball is pure up to the distance of the nearest member of another cluster: the radius is a quantile of those
    distances, with no grid of radii to try.

    Args:
        points: [N, D] of unit length.
        clusters: k of k-means, which stands for the number of classes.
        purity: above 0, at most 1.
        generator: for k-means, and for the 4,096 balls that are looked at where N is larger.
    """
    labels = torch.from_numpy(k_means_clusters(points, clusters, generator))
    anchors = torch.randperm(len(points), generator=generator)[:ANCHORS]
    reach = [
        _distance(points[rows], points).masked_fill_(labels[rows, None] == labels, EVERYWHERE).amin(1)
        for rows in torch.split(anchors, BLOCK)
    ]
    nearest = torch.cat(reach).sort().values
    # the small addend: 20 x (1 - 0.95) is 1.0000000000000009 or 0.99...
    return float(nearest[min(int((1 - purity) * len(nearest) + 1e-9), len(nearest) - 1)])


def greedy_cover(points: Tensor, centres: Tensor, delta: float, n: int) -> list[int]:
    """Rows in the order picked, each the one whose ball holds the most rows not yet covered, the first among equals.
    Fewer than n where all is covered before.

    Args:
        points: [N, D] candidates, unit length.
        centres: [M, D] whose balls cover already; M may be 0.
        delta: radius; a ball holds what is nearer than that, and its own centre.
        n: at most this many.
    """
    bare = np.ones(len(points), dtype=bool)
    if len(centres):
        for start in range(0, len(points), BLOCK):
            bare[start : start + BLOCK] = ~_inside(points[start : start + BLOCK], centres, delta).any(1).numpy()
    gain = _covering(points, np.flatnonzero(bare), delta)
    picked: list[int] = []
    while len(picked) < n and bare.any():
        row = int(np.where(bare, np.maximum(gain, 1), gain).argmax())  # whoever is bare covers itself at least
        newly = bare & _inside(points[row : row + 1], points, delta)[0].numpy()
        newly[row] = bare[row]
        picked.append(row)
        if len(picked) < n:
            gain -= _covering(points, np.flatnonzero(newly), delta)
        bare &= ~newly
        gain[row] = -1
    return picked


def _covering(points: Tensor, covered: npt.NDArray[np.int64], delta: float) -> npt.NDArray[np.int64]:
    """For each row, how many of the rows `covered` its ball holds, [N]."""
    count = torch.zeros(len(points), dtype=torch.int64)
    for rows in torch.split(torch.from_numpy(covered), BLOCK):
        count += _inside(points[rows], points, delta).sum(0)
    counted: npt.NDArray[np.int64] = count.numpy()
    return counted


def _inside(left: Tensor, right: Tensor, delta: float) -> Tensor:
    """Which pairs are nearer than delta, [L, R]: |l|^2 + |r|^2 - 2 l.r < delta^2, in two passes over the pairs."""
    slack = (left.square().sum(1, keepdim=True) - max(delta, SAME) ** 2) / 2
    return torch.addmm(torch.linalg.vector_norm(right, dim=1).square() / 2, left, right.T, beta=-1) > slack


def _distance(left: Tensor, right: Tensor) -> Tensor:
    """[L, R] of vectors of unit length or zero."""
    size = left.square().sum(1)[:, None] + right.square().sum(1)
    return torch.addmm(size, left, right.T, alpha=-2).clamp_(min=0).sqrt_()
