"""Greedy k-center, exact and lazy: pick again and again the point farthest from everything picked so far."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lossrank.errors import StrategyError
from lossrank.requirements import require_count
from lossrank.strategies.distances import Points, as_array, one_thread

__all__ = ["k_center_greedy"]

FRONT = 1024  # rows kept up to date after every pick
BLOCK = 1024  # rows brought up to date in one product
ALONG = 32  # rows measured exactly at once
START = 64  # centres every row is held to at the start; the rest only where it matters


def k_center_greedy(
    features: Tensor | npt.NDArray[np.floating], centres: Tensor | npt.NDArray[np.floating], n: int
) -> list[int]:
    """Rows of `features`, in the order picked; memory O(N + (M + n) D) beside the features, which may be a
    memory-mapped file and of half precision (Sener & Savarese 2018, algorithm 1).

    Without centres the first row is picked first. Among rows equally far away the first is picked; a row is never
    picked twice, even where every distance is zero.

    Distances to the nearest centre only shrink, so a stale one is an upper bound: only the rows that may be farthest
    are held to the centres they missed. Matrix products propose, with a bound of their rounding error; where that
    cannot tell rows apart, squared distances summed in float64, without matrix products, decide. One thread does it.

    Args:
        features: [N, D] the candidates.
        centres: [M, D] what is labelled already; M may be 0.
        n: how many rows, at most N.

    Raises:
        StrategyError: n is out of range, the widths differ, or a value is not finite.
    """
    candidates, known = as_array(features), as_array(centres)
    require_count("n", n, 0, len(candidates), error=StrategyError)
    if candidates.ndim != 2 or (len(known) and known.ndim != 2):
        raise StrategyError(f"k-center needs tables [N, D]; found {list(candidates.shape)} and {list(known.shape)}")
    if len(known) and known.shape[1] != candidates.shape[1]:
        raise StrategyError(f"candidates are {candidates.shape[1]} wide, centres {known.shape[1]}")
    if n == 0:
        return []
    with one_thread():
        return _picked(_Search(Points(candidates, known, n)), n)


def _picked(search: _Search, n: int) -> list[int]:
    """n rows, the first of them row 0 where there is no centre yet."""
    picked = [] if search.points.count else [0]
    if picked:
        search.pick(0)
    search.begin()
    while len(picked) < n:
        farthest = search.farthest()
        if farthest is None:  # everything left lies on a centre
            left = np.setdiff1d(np.arange(len(search.points)), picked, assume_unique=True)
            return picked + [int(row) for row in left[: n - len(picked)]]
        picked.append(farthest)
        search.pick(farthest)
    return picked


class _Search:
    """Bounds of every row's squared distance, and a front: the rows that may be farthest, kept up to date."""

    def __init__(self, points: Points) -> None:
        self.points = points
        self.upper = np.full(len(points), np.inf)
        self.lower = np.full(len(points), np.inf)  # of the distance to the centres seen
        self.seen = np.zeros(len(points), dtype=np.int32)
        self.size = FRONT
        self.entered = -1  # how many centres there were when the front was made
        self.limit = np.inf  # nothing outside the front is farther than this
        self.rows = np.empty(0, dtype=np.int64)
        self.low = self.high = np.empty(0)
        self.near = self.squares = torch.empty(0)

    def begin(self) -> None:
        """Hold every row to a few centres."""
        few = min(START, self.points.count)
        for block in self.points.blocks():
            low, upper = self.points.nearest(*self.points.measure(block), 0, few)
            self.upper[block] = np.minimum(self.upper[block], upper)
            self.lower[block] = low
        self.seen[:] = few

    def pick(self, row: int) -> None:
        """Make a row a centre and hold the front to it."""
        self.points.add(row)
        self.upper[row] = -np.inf
        if len(self.rows):
            low, high = self.points.last(self.near, self.squares)
            np.minimum(self.low, low, out=self.low)
            np.minimum(self.high, high, out=self.high)
            place = np.searchsorted(self.rows, row)
            self.low[place] = self.high[place] = -np.inf

    def farthest(self) -> int | None:
        """The farthest row, the first of equals; None where every distance is zero."""
        while True:
            if len(self.rows):
                self._settle()
                best = self.low.max()
                if best > self.limit:
                    return int(self.rows[self.low.argmax()]) if best > 0 else None
            self._renew()

    def _settle(self) -> None:
        """Replace bounds by exact distances wherever they leave open which row of the front is the farthest."""
        rivals = np.flatnonzero(self.high >= self.low.max())
        if len(rivals) == 1 and self.low[rivals[0]] > self.limit:
            return
        if len(rivals) < ALONG < len(self.high):  # the next to be asked for cost next to nothing now
            rivals = np.argpartition(self.high, -ALONG)[-ALONG:]
        vague = rivals[self.low[rivals] < self.high[rivals]]
        if len(vague):
            self.low[vague] = self.high[vague] = self.points.exact(self.rows[vague])

    def _renew(self) -> None:
        """A new front: rows that have seen every centre, and the farthest that others may be."""
        self.lower[self.rows], self.upper[self.rows] = self.low, self.high
        self.seen[self.rows] = self.points.count
        # A front that could not decide is too small for the rows that tie.
        self.size = self.size * 2 if self.entered == self.points.count else max(FRONT, self.size // 2)
        size = min(self.size, len(self.upper))
        while True:
            rows = self._top(size)
            stale = rows[self.seen[rows] < self.points.count]
            self._refresh(stale[np.argsort(self.seen[stale], kind="stable")])
            if len(stale) <= size // 2:
                break
        self.rows = np.sort(rows)
        self.low, self.high = self.lower[self.rows], self.upper[self.rows]
        self.near, self.squares = self.points.read(self.rows)
        self.upper[self.rows] = -np.inf  # written back when the front is given up
        self.limit = self.upper.max()
        self.entered = self.points.count

    def _top(self, size: int) -> npt.NDArray[np.int64]:
        return np.argpartition(self.upper, -size)[-size:].astype(np.int64)

    def _refresh(self, rows: npt.NDArray[np.int64]) -> None:
        """Hold rows, those that saw the fewest centres first, to the centres they missed."""
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            low, high = self.points.nearest(*self.points.read(part), int(self.seen[part[0]]), self.points.count)
            self.lower[part] = np.minimum(self.lower[part], low)
            self.upper[part] = np.minimum(self.upper[part], high)
            self.seen[part] = self.points.count
