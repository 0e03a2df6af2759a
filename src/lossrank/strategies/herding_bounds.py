"""Upper bounds of what candidates add to a coverage, by products in float32 whose rounding is bounded."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lossrank.columns import is_mapped, mapped
from lossrank.errors import StrategyError
from lossrank.strategies.distances import ROWS, SURE, as_array

__all__ = ["NEGLIGIBLE", "Bounds", "Floats", "Indices", "Rows", "Table", "parts"]

BLOCK = 1024  # rows held to as many others in one product
NEGLIGIBLE = 1e-12  # what a kernel may exceed a coverage by and add nothing: copies differ by rounding
SLACK = 2e-4  # relative, of a sum of `BLOCK` terms in float32
COVERED_LESS = 1e-6  # relative, of a coverage in float32

Table = Tensor | npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def parts(rows: Indices, size: int) -> list[Indices]:
    """The rows, `size` at a time."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


class Rows:
    """The candidates [N, D] relative to the mean of the first ones, so that squared norms do not drown distances."""

    def __init__(self, embedding: Table) -> None:
        on_gpu = isinstance(embedding, Tensor) and embedding.device.type != "cpu"
        self.in_file = is_mapped(embedding) if isinstance(embedding, Tensor) else isinstance(embedding, np.memmap)
        self.table: Table = embedding.detach() if on_gpu else as_array(embedding)  # type: ignore[union-attr]
        self.device = self.table.device if isinstance(self.table, Tensor) else torch.device("cpu")
        # In float32: from it numbers of single or half precision, and integers, differ by what float64 holds exactly.
        self.mean = self._read(np.arange(min(len(embedding), ROWS))).mean(0).float().double()

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: Indices) -> Tensor:
        """[rows, D] in float64, on the device of the candidates."""
        return self._read(rows).sub_(self.mean)

    def squares(self, row: int, others: Indices) -> Tensor:
        """[others] squared distances of a row, from differences in float64."""
        if isinstance(self.table, Tensor):
            return (self._read(others) - self._read(np.array([row]))).square_().sum(1)
        near = self.table[others].astype(np.float64)
        near -= self.table[row]
        return torch.from_numpy(np.einsum("ij,ij->i", near, near))

    def empty(self, count: int) -> Tensor:
        """A float32 table [count, D] to be filled, in a file where the candidates lie in one."""
        shape = (count, self.table.shape[1])
        return mapped(shape, torch.float32) if self.in_file else torch.empty(shape, device=self.device)

    def _read(self, rows: Indices) -> Tensor:
        if isinstance(self.table, Tensor):
            return self.table[torch.from_numpy(rows).to(self.device)].double()
        return torch.from_numpy(self.table[rows].astype(np.float64))


class Bounds:
    """Products of candidates with the targets, the rows that are to be covered.

    Where candidates and targets are the same rows each pair is measured once.

    Args:
        rows: the candidates.
        targets: [T] rows.
        weight: [T] of the targets, at most 1.
        scale: one over the squared bandwidth.

    Raises:
        StrategyError: a value is not finite, or too large for float32 in units of the bandwidth.
    """

    def __init__(self, rows: Rows, targets: Indices, weight: Floats, scale: float) -> None:
        self.rows, self.same = rows, len(targets) == len(rows)
        self.root = math.sqrt(2 * scale)
        self.near = rows.empty(len(targets))
        self.half = torch.empty(len(targets), device=rows.device)
        for place in parts(np.arange(len(targets)), BLOCK):
            some = slice(int(place[0]), int(place[-1]) + 1)
            self.near[some] = self._scaled(targets[some])
            self.half[some] = self.near[some].square().sum(1) / 2
        if not bool(self.half.isfinite().all()):
            raise StrategyError("embedding must be finite, and its distances less than 1e18 times the bandwidth")
        self.rounding = SURE * (math.sqrt(self.near.shape[1]) + 4) * torch.finfo(torch.float32).eps / 2
        smallest = float(torch.finfo(torch.float32).tiny)
        self.weight = torch.from_numpy(np.maximum(weight, smallest * (weight > 0))).float().to(rows.device)
        self._cover(np.zeros(len(targets)))

    def first(self, coverage: Floats, most: int) -> tuple[Floats, list[Indices] | None]:
        """[N] bounds of all candidates; and of each candidate the targets (their places, in order) that it may cover
        better than `coverage` [T] does, None where these are more than `most` in all."""
        self._cover(coverage)
        upper = np.zeros(len(self.rows))
        found: list[Indices] | None = [] if most else None
        count = 0
        for block in parts(np.arange(len(self.rows)), BLOCK):
            part, half = self._candidates(block)
            for others in parts(np.arange(block[0] if self.same else 0, len(self.half)), BLOCK):
                table = self._log_kernel(part, half, others)
                both = self.same and others[0] != block[0]
                if found is None:
                    self._add(table, block, others, both, upper)
                    continue
                found += self._listed(table, block, others, both, upper)
                count += sum(map(len, found[-2:] if both else found[-1:]))
                found = found if count <= most else None
        return upper * (1 + SLACK), None if found is None else self._lists(found)

    def again(self, candidates: Indices, coverage: Floats) -> Floats:
        """[candidates] bounds, now that the targets are covered as far as `coverage` [T] says."""
        self._cover(coverage)
        part, half = self._candidates(candidates)
        upper = np.zeros(len(candidates))
        for others in parts(np.arange(len(self.half)), 8 * BLOCK):
            self._add(self._log_kernel(part, half, others), np.arange(len(candidates)), others, False, upper)
        return upper * (1 + SLACK)

    def _scaled(self, rows: Indices) -> Tensor:
        return self.rows[rows].mul_(self.root).float()

    def _cover(self, coverage: Floats) -> None:
        least = torch.from_numpy(coverage * (1 - COVERED_LESS)).float().to(self.rows.device)
        self.least, self.floor = least, least.clamp(min=NEGLIGIBLE / 2).log()
        self.covered = bool(least.any())

    def _candidates(self, rows: Indices) -> tuple[Tensor, Tensor]:
        """Candidates [rows, D] in units of the bandwidth, and half of their squared norms [rows]."""
        if self.same:
            index = torch.from_numpy(rows).to(self.rows.device)
            return self.near[index], self.half[index]
        part = self._scaled(rows)
        half = part.square().sum(1) / 2
        if not bool(half.isfinite().all()):
            raise StrategyError("embedding must be finite, and its distances less than 1e18 times the bandwidth")
        return part, half

    def _log_kernel(self, part: Tensor, half: Tensor, others: Indices) -> Tensor:
        """[candidates, others] logarithm of the kernel, never below the true one."""
        columns = slice(int(others[0]), int(others[-1]) + 1)
        error = self.rounding * float(half.max().sqrt() + self.half[columns].max().sqrt()) ** 2
        table = torch.addmm(self.half[columns], part, self.near[columns].T, beta=-1)
        return table.sub_(half[:, None] - error)

    def _add(self, table: Tensor, block: Indices, others: Indices, both: bool, upper: Floats) -> None:
        """Add to `upper` what `block` covers of the targets `others`; with `both` also what those cover of `block`."""
        kernel = table.clamp_(max=0).exp_()
        columns = slice(int(others[0]), int(others[-1]) + 1)
        more = (kernel - self.least[columns]).clamp_(min=0) if self.covered else kernel
        upper[block] += (more @ self.weight[columns]).double().cpu().numpy()
        if both:
            rows = slice(int(block[0]), int(block[-1]) + 1)
            more = kernel.sub_(self.least[rows, None]).clamp_(min=0) if self.covered else kernel
            upper[others] += (self.weight[rows] @ more).double().cpu().numpy()

    def _listed(self, table: Tensor, block: Indices, others: Indices, both: bool, upper: Floats) -> list[Indices]:
        """The same, of the pairs that matter alone: each as candidate * T + target."""
        sides = [(self.floor[others[0] : others[-1] + 1][None], block, others, False)]
        if both:
            sides.append((self.floor[block[0] : block[-1] + 1, None], others, block, True))
        found = []
        for floor, candidates, targets, turned in sides:
            row, column, log_kernel = _above(table, floor)
            row, column = (column, row) if turned else (row, column)
            target = torch.from_numpy(targets[column]).to(table.device)
            more = (log_kernel.clamp_(max=0).exp_() - self.least[target]).mul_(self.weight[target])
            gain = more.clamp_(min=0).double().cpu().numpy()
            upper[candidates] += np.bincount(row, gain, minlength=len(candidates))
            found.append(candidates[row] * len(self.half) + targets[column])
        return found

    def _lists(self, found: list[Indices]) -> list[Indices]:
        pairs = np.concatenate(found)
        found.clear()
        pairs.sort()
        ends = np.searchsorted(pairs, np.arange(1, len(self.rows)) * len(self.half))
        return np.split(pairs % len(self.half), ends)


def _above(table: Tensor, floor: Tensor) -> tuple[Indices, Indices, Tensor]:
    """Row and column of the entries above their floor, and those entries. NumPy finds few of many ten times faster."""
    if table.device.type == "cpu":
        flat = np.flatnonzero(table.numpy() > floor.numpy())
        values = table.view(-1)[torch.from_numpy(flat)]
    else:
        place = (table > floor).view(-1).nonzero().view(-1)
        flat, values = place.cpu().numpy(), table.view(-1)[place]
    row, column = np.divmod(flat, table.shape[1])
    return row, column, values
