"""Squared distances of many rows to a growing list of centres: quick with a bound of the error, or exact."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lossrank.errors import StrategyError

__all__ = ["ROWS", "Points", "as_array", "one_thread"]

ROWS = 8192  # rows read at once
PAIRS = 4096  # pairs measured at once in float64
CENTRES = 2048  # centres in one matrix product
SURE = 8  # rounding errors add up like a random walk: beyond 8 deviations with a chance of 1e-13


def as_array(rows: Tensor | npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """The rows in NumPy, where NumPy has their type without a copy; a memory-mapped file stays one."""
    if isinstance(rows, Tensor):
        rows = rows.detach().cpu()
        plain: npt.NDArray[np.floating] = (rows.float() if rows.dtype == torch.bfloat16 else rows).numpy()
        return plain
    return np.asarray(rows)


@contextmanager
def one_thread() -> Iterator[None]:
    """Products on this thread alone inside; the number of threads is given back, also on an error.

    A product of a few milliseconds ends when its slowest thread does: where other work holds a core, that is a turn of
    the scheduler later, every time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Points:
    """Rows [N, D], read in blocks, and centres that are added one by one.

    Products are taken in float64 if the rows are float64 or integers, else in float32, of values relative to the mean
    of the first rows: far from the origin, squared norms would drown the distances.
    """

    def __init__(self, rows: npt.NDArray[np.floating], centres: npt.NDArray[np.floating], extra: int) -> None:
        self.rows = rows
        self.dtype = np.float32 if rows.dtype in (np.float16, np.float32) else np.float64
        self.shift = np.asarray(rows[:ROWS], np.float64).mean(0).astype(self.dtype)
        self.count = len(centres)
        width = rows.shape[1]
        self.truth = np.empty((self.count + extra, width))  # centres as they are, for exact distances
        self.truth[: self.count] = centres.reshape(-1, width)
        self.centres = torch.empty(self.count + extra, width, dtype=torch.from_numpy(self.shift).dtype)
        self.squares = torch.zeros(self.count + extra, dtype=self.centres.dtype)
        self.reach = 0.0  # largest norm of a centre
        self._enter(slice(0, self.count))
        self.row_squares = torch.full((len(rows),), torch.nan, dtype=self.centres.dtype)  # filled by a pass over blocks
        self.rounding = SURE * (math.sqrt(width) + 4) * float(np.finfo(self.dtype).eps) / 2

    def __len__(self) -> int:
        return len(self.rows)

    def _enter(self, place: slice) -> None:
        self.centres[place] = torch.from_numpy((self.truth[place] - self.shift).astype(self.dtype))
        self.squares[place] = self.centres[place].square().sum(1)
        if place.stop > place.start:
            self.reach = max(self.reach, math.sqrt(float(self.squares[place].max())))
        if not math.isfinite(self.reach) or bool(torch.isnan(self.squares[place]).any()):
            raise StrategyError("centres are not finite, or so large that their squared distances are not")

    def add(self, row: int) -> None:
        """Make a row a centre."""
        self.truth[self.count] = self.rows[row]
        self._enter(slice(self.count, self.count + 1))
        self.count += 1

    def blocks(self) -> Iterator[slice]:
        """All rows, a block at a time."""
        for start in range(0, len(self.rows), ROWS):
            yield slice(start, min(start + ROWS, len(self.rows)))

    def measure(self, block: slice) -> tuple[Tensor, Tensor]:
        """A block of rows for the first time, as `read` gives it.

        Raises:
            StrategyError: a value is not finite.
        """
        near = np.asarray(self.rows[block], self.dtype) - self.shift
        squares = torch.from_numpy(np.einsum("ij,ij->i", near, near))
        if not bool(torch.isfinite(squares).all()):
            raise StrategyError("features are not finite, or so large that their squared distances are not")
        self.row_squares[block] = squares
        return torch.from_numpy(near), squares

    def read(self, rows: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Some rows relative to the shift [rows, D], and their squared norms [rows]."""
        near = self.rows[rows].astype(self.dtype)
        np.subtract(near, self.shift, out=near)
        return torch.from_numpy(near), self.row_squares[torch.from_numpy(rows)]

    def error(self, squares: Tensor) -> npt.NDArray[np.float64]:
        """How far a product's squared distance may be from the truth, for rows of these squared norms [rows]."""
        bound: npt.NDArray[np.float64] = self.rounding * (np.sqrt(squares.double().numpy()) + self.reach) ** 2
        return bound

    def nearest(
        self, near: Tensor, squares: Tensor, first: int, last: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Lower and upper bounds [rows] of the squared distance to the nearest of the centres first to last."""
        least = torch.full((len(near),), torch.inf, dtype=near.dtype)
        for start in range(first, last, CENTRES):
            some = slice(start, min(start + CENTRES, last))
            distance = torch.addmm(self.squares[some], near, self.centres[some].T, alpha=-2)
            torch.minimum(least, distance.amin(1), out=least)
        middle, error = (least + squares).double().numpy(), self.error(squares)
        return np.maximum(middle - error, 0), middle + error

    def last(self, near: Tensor, squares: Tensor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The same bounds for the newest centre alone."""
        place = self.count - 1
        product = torch.mv(near, self.centres[place]).numpy().astype(np.float64)
        middle = squares.double().numpy() + float(self.squares[place]) - 2 * product
        error = self.error(squares)
        return np.maximum(middle - error, 0), middle + error

    def exact(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Squared distances [rows] to the nearest centre, summed in float64 over the differences."""
        result = np.full(len(rows), np.inf)
        for start in range(0, len(rows), 256):
            part = rows[start : start + 256]
            near, squares = self.read(part)
            middle = torch.addmm(self.squares[: self.count], near, self.centres[: self.count].T, alpha=-2)
            limit = middle.amin(1) + torch.from_numpy(2 * self.error(squares)).to(middle.dtype)
            places, centres = np.nonzero(middle.numpy() <= limit[:, None].numpy())
            truth = self.rows[part].astype(np.float64)
            for top in range(0, len(places), PAIRS):
                pair = slice(top, top + PAIRS)
                distance = np.square(truth[places[pair]] - self.truth[centres[pair]]).sum(1)
                np.minimum.at(result, start + places[pair], distance)
        return result
