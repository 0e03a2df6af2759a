"""Which neighbours an isotonic regression pools, for many lists at once.

The sequences come concatenated, in double precision on the CPU, and the regression is non-increasing. What is pooled is
all that a caller needs: the values of the blocks follow from it with full precision, on any device.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

__all__ = ["entropic_blocks", "isotonic_heads", "quadratic_blocks"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

EXPONENTS = 600.0  # of the about 1,400 powers of e that a double reaches


@torch.library.custom_op("lossrank::isotonic_heads", mutates_args=())
def isotonic_heads(negated: Tensor, ranks: Tensor, count: Tensor, entropic: bool) -> Tensor:
    """[..., list] the place within its list of the first element of each element's block.

    One opaque operation of a compiled graph and under `torch.func.vmap`; it is computed on the CPU.

    Args:
        negated: [..., list] float64, descending within what counts of each list.
        ranks: [..., list] float64, positive and descending.
        count: [..., 1] how many of each list count, in front. The others are blocks of their own.
        entropic: whether the regression is the entropic one.
    """
    length = negated.shape[-1]
    z, w = (values.reshape(-1, length).cpu().numpy() for values in (negated, ranks))
    lengths = count.reshape(-1).cpu().numpy()
    place = np.arange(length)
    kept = place < lengths[:, None]
    heads = np.tile(place, (len(lengths), 1))
    if kept.any():
        begins = np.cumsum(lengths) - lengths
        blocks = (_entropic if entropic else _quadratic)(z[kept], w[kept], begins[lengths > 0])
        first = np.repeat(blocks, np.diff(np.append(blocks, kept.sum())))
        heads[kept] = first - np.repeat(begins, lengths)
    return torch.from_numpy(heads).view(negated.shape).to(negated.device)


@isotonic_heads.register_fake
def _(negated: Tensor, ranks: Tensor, count: Tensor, entropic: bool) -> Tensor:
    return torch.empty_like(negated, dtype=torch.int64)


@isotonic_heads.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
    tensors = [
        values.expand(info.batch_size, *values.shape) if dim is None else values.movedim(dim, 0)
        for values, dim in zip(arguments[:3], dims, strict=False)
    ]
    return isotonic_heads(*tensors, arguments[3]), 0


def _quadratic(z: Floats, w: Floats, starts: Ints) -> Ints:
    return quadratic_blocks(z - w, starts)


def _entropic(z: Floats, w: Floats, starts: Ints) -> Ints:
    return entropic_blocks(z, w, starts)


def quadratic_blocks(values: Floats, starts: Ints) -> Ints:
    """Where each block begins when the mean square is minimised (pool adjacent violators, O(N)).

    Args:
        values: [N] the sequences, one after another.
        starts: [lists] where each sequence begins, ascending; none is empty.
    """
    # A step down between one sequence and the next, wider than either, and no block reaches across.
    top, bottom = np.maximum.reduceat(values, starts), np.minimum.reduceat(values, starts)
    fall = np.cumsum(np.concatenate([[0.0], top[1:] - bottom[:-1] + 1.0]))
    lengths = np.diff(np.append(starts, len(values)))
    return _pooled(values - np.repeat(fall, lengths), np.ones(len(values)))


def entropic_blocks(values: Floats, weights: Floats, starts: Ints) -> Ints:
    """Where each block begins when blocks have the value log(sum exp(values) / sum weights).

    That is the logarithm of the weighted mean of exp(values) / weights, so the same neighbours are pooled as in the
    weighted regression of these. Sequences share a call as far as the range of a double allows; one whose own
    exponentials leave it is pooled in logarithms, one element after the other.

    Args:
        values: [N] the sequences, one after another, each descending.
        weights: [N] positive.
        starts: [lists] where each sequence begins, ascending; none is empty.
    """
    ends = np.append(starts[1:], len(values))
    logs = values - np.log(weights)
    top, bottom = np.maximum.reduceat(logs, starts), np.minimum.reduceat(logs, starts)
    spans = top - bottom + 1.0
    found: list[Ints] = []
    first = 0
    while first < len(starts):
        last, room = first + 1, EXPONENTS - spans[first]
        while last < len(starts) and room >= spans[last]:
            room -= spans[last]
            last += 1
        begin, end = int(starts[first]), int(ends[last - 1])
        if spans[first] > EXPONENTS:
            blocks = _pooled_in_logs(values[begin:end], np.log(weights[begin:end]))
        else:  # each sequence below the one before, none lost to the smallest double
            below = top[first:last] + np.concatenate([[0.0], np.cumsum(spans[first : last - 1])])
            lengths = ends[first:last] - starts[first:last]
            blocks = _pooled(np.exp(logs[begin:end] - np.repeat(below, lengths) + EXPONENTS / 2), weights[begin:end])
        found.append(blocks + begin)
        first = last
    return np.concatenate(found)


def _pooled(values: Floats, weights: Floats) -> Ints:
    return isotonic_regression(values, weights=weights, increasing=False).blocks[:-1].astype(np.int64)  # type: ignore[no-any-return]


def _pooled_in_logs(values: Floats, logs: Floats) -> Ints:
    """Pool adjacent violators of one sequence: a stack of blocks, each its start and two logarithms of sums."""
    begins: list[int] = []
    tops: list[float] = []
    bottoms: list[float] = []
    for place, (top, bottom) in enumerate(zip(values.tolist(), logs.tolist(), strict=True)):
        begin = place
        while begins and tops[-1] - bottoms[-1] < top - bottom:
            top, bottom = _log_sum(tops.pop(), top), _log_sum(bottoms.pop(), bottom)
            begin = begins.pop()
        begins.append(begin)
        tops.append(top)
        bottoms.append(bottom)
    return np.array(begins, dtype=np.int64)


def _log_sum(a: float, b: float) -> float:
    larger, smaller = (a, b) if a > b else (b, a)
    return larger + math.log1p(math.exp(smaller - larger))
