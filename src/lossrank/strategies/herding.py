"""Greedy weighted coverage, exact and lazy: pick again and again the row that adds most to how well all are covered."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from lossrank.errors import StrategyError
from lossrank.strategies.distances import Points, as_array
from lossrank.strategies.herding_bounds import NEGLIGIBLE, Bounds, Floats, Indices, Rows, Table, parts

__all__ = ["herding_greedy"]

COVERED = 50_000  # rows that count as the pool to be covered; of more candidates, so many evenly spaced ones
REFRESHED = 128  # candidates bounded again together
LISTED = 8  # candidates measured in float64 together
PAIRS = 24_000_000  # pairs kept, up to 16 bytes each
CHUNK = 4096  # pairs measured at once by their differences
DIGITS = 11  # of a gain; beyond them sums differ by the order of their terms
NARROWEST = 1e-100  # bandwidth: its square has to be a number
EXACT = 1e-12  # error of a logarithm of a kernel from which on differences replace products


def herding_greedy(embedding: Table, weight: Table | None, covered: Table, n: int, bandwidth: float) -> list[int]:
    """Rows of `embedding`, in the order picked, by greedy maximisation of the weighted coverage

        C(S) = sum_i weight_i max_{s in S} k(x_i, x_s),   k(x, y) = exp(-|x - y|^2 / bandwidth^2),

    where S begins as the rows in `covered`. C is monotone and submodular: the picks add at least 1 - 1/e of the most
    that n rows can add (Nemhauser, Wolsey & Fisher 1978). Weight 1 gives MaxHerding (Bae et al., ECCV 2024), an
    uncertainty gives Uncertainty Herding (Bae et al., ICLR 2025).

    Gains only shrink: a stale gain is an upper bound, and only rows that may be best are evaluated again. One blocked
    pass of float32 products bounds all gains from above; gains in float64, compared to 11 digits, decide. Of equal
    gains the first row is picked, also where nothing can be gained any more.

    Args:
        embedding: [N, D] the candidates, in memory, in a memory-mapped file of any precision, or on a GPU, where the
            products are then taken.
        weight: [N] finite and >= 0, how much it counts that a candidate is covered; None: each counts 1. Of more
            than 50,000 candidates 50,000 evenly spaced ones are to be covered; any candidate may be picked.
        covered: [M, D] the rows that cover already, usually the labelled ones; M may be 0.
        n: number of rows to pick, at most N.
        bandwidth: distance at which a row covers another to 1/e, > 0.

    Raises:
        StrategyError: an argument is out of range, widths differ, or a value is not finite.
    """
    _check(embedding, covered, n, bandwidth)
    weights = _weights(weight, len(embedding))
    return _Search(embedding, weights, covered, bandwidth).picks(n) if n else []


def _check(embedding: Table, covered: Table, n: int, bandwidth: float) -> None:
    if embedding.ndim != 2:
        raise StrategyError(f"embedding must be [candidates, width], got {list(embedding.shape)}")
    if len(covered) and tuple(covered.shape[1:]) != tuple(embedding.shape[1:]):
        raise StrategyError(f"covered must be [rows, {embedding.shape[1]}], got {list(covered.shape)}")
    if not 0 <= n <= len(embedding):
        raise StrategyError(f"n must be between 0 and the {len(embedding)} candidates, got {n}")
    if not NARROWEST <= bandwidth <= 1 / NARROWEST:
        raise StrategyError(f"bandwidth must be > 0, from {NARROWEST:g} to {1 / NARROWEST:g}, got {bandwidth}")


def _weights(weight: Table | None, n: int) -> Floats:
    """[n] multiplied by the power of 2, which rounds nothing, that brings the largest to between 1/2 and 1."""
    values = np.ones(n) if weight is None else as_array(weight).astype(np.float64)
    if values.shape != (n,):
        raise StrategyError(f"weight must be [{n}], got {list(values.shape)}")
    if not np.isfinite(values).all() or values.min(initial=0.0) < 0:
        raise StrategyError(f"weight must be finite and >= 0, got {values.min()} to {values.max()}")
    return np.ldexp(values, -int(np.frexp(values.max(initial=0.0))[1]))


class _Search:
    """How well each target is covered, and an upper bound of what each candidate would add.

    A list holds the targets (their places) that a candidate may cover better than they are covered, and its kernels
    there. Where all lists are short they come from the pass that bounds the gains. Else most of them are as long as the
    pool: bounds are taken again in float32, and lists made of the few candidates that then may be best.
    """

    def __init__(self, embedding: Table, weight: Floats, covered: Table, bandwidth: float) -> None:
        self.rows, self.scale = Rows(embedding), bandwidth**-2
        self.targets, self.weight = _targets(weight)
        self.coverage = self._coverage(embedding, covered)
        self.coverage[self.weight == 0] = 1.0  # what has no weight counts as covered
        self.bounds = Bounds(self.rows, self.targets, self.weight, self.scale)
        self.upper, lists = self.bounds.first(self.coverage, PAIRS)
        self.lists: dict[int, tuple[Indices, Floats | None]] = {i: (found, None) for i, found in enumerate(lists or ())}
        self.pairs = sum(map(len, lists or ()))  # in the lists
        self.evaluated = np.full(len(self.rows), -1)  # how many were picked when each candidate's gain was taken
        self.bounded = np.zeros(len(self.rows), np.int64)  # and when its bound was
        self.picked: list[int] = []

    def picks(self, n: int) -> list[int]:
        """n rows: the largest bound is made tighter until it is a gain."""
        while len(self.picked) < n:
            best, now = int(self.upper.argmax()), len(self.picked)
            if self.upper[best] <= 0:
                return self.picked + [int(row) for row in np.flatnonzero(self.upper == 0)[: n - now]]
            if self.evaluated[best] == now:
                self._pick(best)
            elif best in self.lists or self.bounded[best] == now:
                self._evaluate(best)
            else:
                self._bound()
        return self.picked

    def _coverage(self, embedding: Table, covered: Table) -> Floats:
        """Of each target by the nearest covering row, [T]."""
        if not len(covered):
            return np.zeros(len(self.targets))
        points = Points(as_array(embedding), as_array(covered), 0)
        for block in points.blocks():
            points.measure(block)
        coverage: Floats = np.exp(-self.scale * points.exact(self.targets))
        return coverage

    def _pick(self, candidate: int) -> None:
        targets, kernel = self._measured(candidate)
        self.coverage[targets] = np.maximum(self.coverage[targets], kernel)
        self.pairs -= len(self.lists.pop(candidate)[0])
        self.upper[candidate] = -1
        self.picked.append(candidate)

    def _evaluate(self, candidate: int) -> None:
        """The gain of a candidate now, to `DIGITS`; what it can no longer cover better leaves its list."""
        targets, kernel = self._measured(candidate)
        more = kernel - self.coverage[targets]
        useful = more > NEGLIGIBLE
        gain = float(more[useful] @ self.weight[targets[useful]])
        self.upper[candidate] = float(f"{gain:.{DIGITS}g}")
        self.evaluated[candidate] = len(self.picked)
        left = int(np.count_nonzero(useful))
        if 2 * left < len(targets):
            self.pairs -= len(targets) - left
            self.lists[candidate] = targets[useful], kernel[useful]

    def _measured(self, candidate: int) -> tuple[Indices, Floats]:
        """The list of a candidate, made or its kernels measured where that has not been done."""
        if candidate not in self.lists:
            self._list(candidate)
        targets, kernel = self.lists[candidate]
        if kernel is None:
            kernel = self._kernel(candidate, targets)
            self.lists[candidate] = targets, kernel
        return targets, kernel

    def _kernel(self, candidate: int, targets: Indices) -> Floats:
        """[targets] from differences."""
        square = [self.rows.squares(candidate, self.targets[part]) for part in parts(targets, CHUNK)]
        kernel: Floats = torch.cat(square or [torch.empty(0).double()]).mul_(-self.scale).exp_().cpu().numpy()
        return kernel

    def _largest(self, among: npt.NDArray[np.bool_], count: int) -> Indices:
        """The `count` candidates with the largest bounds above 0 among some [N], fewer where fewer are."""
        bounds = np.where(among, self.upper, -1)
        count = min(count, len(bounds))
        largest = np.argpartition(bounds, -count)[-count:].astype(np.int64)
        return largest[bounds[largest] > 0]

    def _bound(self) -> None:
        """Take the largest stale bounds again."""
        stale = self.bounded < len(self.picked)
        stale[list(self.lists)] = False
        some = self._largest(stale, REFRESHED)
        self.upper[some] = np.minimum(self.upper[some], self.bounds.again(some, self.coverage))
        self.bounded[some] = len(self.picked)
        rivals = np.count_nonzero(stale & (self.upper > self.upper[some].max()))
        if self.bounds.same and 2 * rivals > len(self.upper):  # after a first pick: all at once, each pair once
            self.upper = np.minimum(self.upper, self.bounds.first(self.coverage, 0)[0])
            self.bounded[:] = len(self.picked)

    def _list(self, candidate: int) -> None:
        """Make the list of a candidate and of those of the next largest bounds that have none."""
        without = np.ones(len(self.upper), bool)
        without[[candidate, *self.lists]] = False
        batch = np.append(self._largest(without, LISTED)[1:], candidate)
        made = dict(zip(batch.tolist(), self._products(batch), strict=True))
        self.pairs += sum(len(targets) for targets, _ in made.values())
        if self.pairs > PAIRS:
            for row in sorted(self.lists, key=lambda row: float(self.upper[row])):  # not of those just made
                self.pairs -= len(self.lists.pop(row)[0])
                if self.pairs <= PAIRS // 2:
                    break
        self.lists |= made

    def _products(self, candidates: Indices) -> list[tuple[Indices, Floats | None]]:
        """The lists of some candidates by products in float64; without kernels where products are too coarse."""
        own = self.rows[candidates]
        squares = own.square().sum(1)[:, None]
        limit = torch.from_numpy(-np.log(np.maximum(self.coverage, NEGLIGIBLE)) / self.scale).to(own.device)
        found: list[list[tuple[Indices, Floats]]] = [[] for _ in candidates]
        coarse = 0.0
        for part in parts(np.arange(len(self.targets)), 2 * CHUNK):
            near = self.rows[self.targets[part]]
            norms = near.square().sum(1)
            error = 4 * torch.finfo(torch.float64).eps * float(squares.max() + norms.max())
            coarse = max(coarse, self.scale * error)
            square = torch.addmm(norms, own, near.T, alpha=-2).add_(squares)
            useful = square - error < limit[part]
            for row, mask in enumerate(useful):
                kernel = square[row, mask].clamp_(min=0).mul_(-self.scale).exp_()
                found[row].append((part[mask.cpu().numpy()], kernel.cpu().numpy()))
        lists = [(np.concatenate([t for t, _ in each]), np.concatenate([k for _, k in each])) for each in found]
        return [(targets, kernel if coarse < EXACT else None) for targets, kernel in lists]


def _targets(weight: Floats) -> tuple[Indices, Floats]:
    """The rows that are to be covered, at most `COVERED`, and their weights.

    All rows where most have a weight, or none has: candidates and targets are then the same, which halves the work.
    """
    rows = np.flatnonzero(weight)
    if not len(rows) or 2 * len(rows) >= len(weight):
        rows = np.arange(len(weight))
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), COVERED)).astype(np.int64)]
    return rows, weight[rows]
