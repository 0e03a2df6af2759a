"""Density maps of heads: gaussian targets, counts, errors, entropy, peaks. Pure functions over [batch, 1, h, w].

The numbers are those of the C-3-Framework (Gao et al., 2019) and of the density maps of Zhang et al. (2016).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["counts", "density_entropy", "density_maps", "density_mse", "density_peaks", "heads_below"]


def density_maps(
    points: Float[Tensor, "batch heads 2"],
    present: Tensor,
    size: tuple[int, int],
    *,
    stride: float = 1.0,
    kernel: int = 15,
    sigma: float = 4.0,
) -> Float[Tensor, "batch 1 h w"]:
    """A gaussian of sum 1 about the pixel of each head; each map's sum is the number of heads.

    Where the square of `kernel` pixels leaves the map, what remains of it gets a gaussian about its own middle, again
    of sum 1, as in the reference. A head beyond the border counts at the pixel of the border next to it.

    Args:
        points: x, y in pixels of the network's input; what is not present may hold anything.
        present: [batch, heads], whether there is a head.
        size: height and width of the map.
        stride: pixels of the input for one pixel of the map.
        kernel: side of the square in pixels of the map, odd.
        sigma: in pixels of the map.
    """
    height, width = size
    limits = torch.tensor([width - 1, height - 1], device=points.device, dtype=points.dtype)
    pixel = torch.where(present[..., None], points / stride, 0).floor().clamp(min=points.new_zeros(2), max=limits)
    # A gaussian depends on its head's pixel alone and is a product of one along x and one along y: count the heads of
    # each pixel, then spread all rows and all columns at once. The cost does not grow with the number of heads.
    place = (pixel[..., 1] * width + pixel[..., 0]).long()
    heads = points.new_zeros(len(points), height * width).scatter_add_(1, place, present.to(points.dtype))
    down, across = (_bells(length, kernel // 2, sigma, points) for length in size)
    return (down.T @ heads.view(-1, height, width) @ across)[:, None]


def density_mse(maps: Float[Tensor, "batch 1 h w"], truth: Float[Tensor, "batch 1 h w"]) -> Float[Tensor, " batch"]:
    """[batch] mean squared error over the pixels of each map; its mean over the batch is the reference's loss."""
    return (maps - truth).square().mean((1, 2, 3))


def counts(maps: Float[Tensor, "batch 1 h w"], scale: float = 100.0) -> Float[Tensor, " batch"]:
    """[batch] heads in each map: its sum over `scale`, the factor between maps and densities."""
    return maps.sum((1, 2, 3)) / scale


def density_entropy(maps: Float[Tensor, "batch 1 h w"]) -> Float[Tensor, " batch"]:
    """[batch] entropy of the softmax over all pixels of each map as the network gives it, natural logarithm."""
    log_p = maps.flatten(1).log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def density_peaks(maps: Float[Tensor, "batch 1 h w"], most: Sequence[int], *, radius: int) -> list[Tensor]:
    """For each map [peaks, 2], column and row of its local maxima, the highest first.

    A pixel is one if it is above 0 and the largest of the square of `radius` pixels on every side of it; of several
    largest the first, row by row.

    Args:
        most: how many are kept of each map.
    """
    width = maps.shape[3]
    _, largest = F.max_pool2d(maps, 2 * radius + 1, stride=1, padding=radius, return_indices=True)
    pixels = maps.flatten(1)
    peaked = (largest.flatten(1) == torch.arange(pixels.shape[1], device=maps.device)) & (pixels > 0)
    found = []
    for heights, peak, number in zip(pixels, peaked, most, strict=True):
        place = peak.nonzero()[:, 0]
        place = place[heights[place].argsort(descending=True, stable=True)[:number]]
        found.append(torch.stack([place % width, place // width], 1))
    return found


def heads_below(peaks: Tensor, size: tuple[int, int], *, kernel: int = 15) -> Tensor:
    """Column and row [peaks, 2] of the heads whose gaussians peak there: the same, but for those near a border.

    There `density_maps` puts the peak in the middle of what is left of the square, up to half of its half side away
    from the head. Where a side of the map is shorter than the square, nothing can be told and nothing is moved.

    Args:
        peaks: column and row [peaks, 2].
        size: height and width of the map.
        kernel: side of the square in pixels of the map, odd.
    """
    radius = kernel // 2
    last = torch.tensor([size[1] - 1, size[0] - 1], device=peaks.device)
    before = torch.where(peaks < radius, (2 * peaks - radius).clamp(min=0), peaks)
    behind = last - peaks
    moved = torch.where(behind < radius, last - (2 * behind - radius).clamp(min=0), before)
    return torch.where(last + 1 < kernel, peaks, moved)


def _bells(length: int, radius: int, sigma: float, like: Tensor) -> Tensor:
    """[length, length] in row c, one side of the gaussian of a head at pixel c: of sum 1, 0 beyond `radius`."""
    pixel = torch.arange(length, device=like.device, dtype=like.dtype)
    first, last = (pixel - radius).clamp(min=0), (pixel + radius).clamp(max=length - 1)
    distance = pixel - (first + last)[:, None] / 2
    inside = (pixel >= first[:, None]) & (pixel <= last[:, None])
    bells = torch.exp(-distance.square() / (2 * sigma**2)) * inside
    return bells / bells.sum(1, keepdim=True)
