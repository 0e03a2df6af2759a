"""TypiClust: for small budgets, the most typical sample of each large cluster that holds no label."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from lossrank.columns import blocks, empty_beside
from lossrank.errors import StrategyError
from lossrank.ledger import SampleId
from lossrank.signals import Signals
from lossrank.strategies.base import Strategy
from lossrank.strategies.k_means import k_means_clusters

__all__ = ["TypiClust", "most_typical", "unit_embeddings"]

BLOCK = 1024  # rows held to all others of their cluster at once


@dataclass(frozen=True)
class TypiClust(Strategy):
    """For small budgets: the most typical sample of each large cluster without a label.

    Hacohen et al. 2022, algorithm 1: labelled and candidates are clustered together into as many clusters as there will
    be labels, at most 500. Clusters with the fewest labels come first, the largest of them in front; each gives the
    sample with the smallest mean distance to its nearest neighbours inside the cluster. A budget beyond the clusters
    goes round again. Clusters of 5 or fewer come last (the authors drop them), so that the whole pool can be asked for.
    """

    most_clusters: int = 500
    """At most this many clusters."""
    neighbours: int = 20
    """Neighbours whose mean distance says how typical a sample is; at most half of the cluster."""
    least_size: int = 6
    """Clusters with fewer samples come after all others."""

    name: ClassVar[str] = "typiclust"
    needs: ClassVar[frozenset[str]] = frozenset({"embedding"})
    needs_labelled: ClassVar[frozenset[str]] = frozenset({"embedding"})
    cost: ClassVar[str] = "one pass over candidates and labelled, then k-means"
    paper: ClassVar[str] = "Hacohen et al., Active Learning on a Budget, ICML 2022"

    def __post_init__(self) -> None:
        for name in ("most_clusters", "neighbours", "least_size"):
            if getattr(self, name) < 1:
                raise StrategyError(f"typiclust: {name} must be at least 1; found {getattr(self, name)}")

    def select(self, signals: Signals, labelled: Signals, n: int, generator: torch.Generator) -> list[SampleId]:
        signals.require(n)
        ordered = signals.sorted()
        points = unit_embeddings(ordered, labelled)
        embedding = points[: len(ordered)]
        clusters = k_means_clusters(points, min(len(labelled) + n, self.most_clusters), generator)
        own, taken = clusters[: len(ordered)], clusters[len(ordered) :]
        free = {int(cluster): np.flatnonzero(own == cluster) for cluster in np.unique(own)}
        rows: list[int] = []
        for cluster in self._order(own, taken):
            place = most_typical(embedding[torch.from_numpy(free[cluster])], self.neighbours)
            rows.append(int(free[cluster][place]))
            free[cluster] = np.delete(free[cluster], place)
            if len(rows) == n:
                break
        return [ordered.ids[row] for row in rows]

    def _order(self, own: npt.NDArray[np.int64], taken: npt.NDArray[np.int64]) -> Iterator[int]:
        """The cluster to ask from, again and again: not small, then fewest labels, then largest.

        Each as often as it holds candidates.
        """
        whole = np.bincount(np.concatenate([own, taken]))
        left, labels = np.bincount(own, minlength=len(whole)), np.bincount(taken, minlength=len(whole))
        queue = [
            (bool(whole[c] < self.least_size), int(labels[c]), -int(whole[c]), c) for c in range(len(whole)) if left[c]
        ]
        heapq.heapify(queue)
        while queue:
            small, count, size, cluster = heapq.heappop(queue)
            yield cluster
            left[cluster] -= 1
            if left[cluster]:
                heapq.heappush(queue, (small, count + 1, size, cluster))


def unit_embeddings(candidates: Signals, labelled: Signals) -> Tensor:
    """Embeddings of candidates, then of the labelled, [N + M, D]: sorted by id, in float32 and of unit length (as both
    low-budget papers take them); a zero embedding stays zero. In a file where the candidates' embeddings lie in one.

    Raises:
        StrategyError: a value is not finite, or the widths differ.
    """
    embedding = candidates.finite("embedding")
    if embedding.ndim != 2:
        raise StrategyError(f"'embedding' must have the shape [N, width]; found {list(embedding.shape)}")
    known = labelled.sorted().finite("embedding") if len(labelled) else embedding[:0]
    if known.shape[1:] != embedding.shape[1:]:
        raise StrategyError(
            f"embeddings of the candidates are {embedding.shape[1]} wide, those of the labelled {list(known.shape[1:])}"
        )
    points = empty_beside(embedding.cpu(), (len(embedding) + len(known), embedding.shape[1]), torch.float32)
    for part, start in ((embedding, 0), (known, len(embedding))):
        for block in blocks(len(part)):
            points[start + block.start : start + block.stop] = F.normalize(part[block].float())
    return points


def most_typical(points: Tensor, neighbours: int) -> int:
    """The row with the smallest mean distance to its nearest others: the inverse is its typicality (equation 1).

    Args:
        points: [N, D], the candidates of one cluster.
        neighbours: how many others; no more than half of the cluster, at least one.
    """
    wanted = min(neighbours, max(len(points) // 2, 1), len(points) - 1)
    if wanted < 1:
        return 0
    exact = points.double()  # copies are 0 apart, which float32 would blur to 0.0005
    mean = [_mean_distance(exact, start, wanted) for start in range(0, len(exact), BLOCK)]
    return int(torch.cat(mean).argmin())


def _mean_distance(points: Tensor, start: int, neighbours: int) -> Tensor:
    """Of the rows of one block to their nearest others, [block]."""
    distance = torch.cdist(points[start : start + BLOCK], points)
    distance.diagonal(start).fill_(torch.inf)
    return distance.topk(neighbours, dim=1, largest=False).values.mean(1)
