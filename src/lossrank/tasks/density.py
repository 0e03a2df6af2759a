"""Density maps of heads: gaussian targets, counts, errors, entropy, heads. Pure functions over [batch, 1, h, w].

The numbers are those of the C-3-Framework (Gao et al., 2019) and of the density maps of Zhang et al. (2016).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lossrank.tasks.softmax import Softmax

__all__ = ["counts", "density_entropy", "density_maps", "density_mse", "heads_in", "local_maxima"]


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
    return Softmax(maps.flatten(1)).entropy()


def heads_in(
    maps: Float[Tensor, "batch 1 h w"], most: Sequence[int], *, kernel: int = 15, sigma: float = 4.0
) -> list[Tensor]:
    """For each density map [heads, 2], column and row of the heads that it is made of, the surest first.

    Undoes `density_maps`, head by head: the highest pixel is one, its gaussian is taken away, and so on while anything
    is above 0. No pixel has two heads, since whoever looks at them would see one. The peaks of a map alone are far
    fewer than its heads: gaussians that are nearer than two sigma have one peak (benchmarks/counting_points.py).

    Args:
        maps: densities; the gaussian of a head has sum 1.
        most: how many heads are looked for in each map.
        kernel, sigma: as of `density_maps`.
    """
    height, width = maps.shape[2:]
    radius, found = kernel // 2, []
    maps = maps.detach().cpu()
    down, across = (_bells(length, radius, sigma, maps) for length in (height, width))
    for density, number in zip(maps[:, 0].clone(), most, strict=True):
        heads: dict[tuple[int, int], None] = {}
        while len(heads) < number:
            top, left = divmod(int(density.argmax()), width)
            if not density[top, left] > 0:
                break
            density[top, left] = -torch.inf
            column, row = head = _below(left, width, radius), _below(top, height, radius)
            if head not in heads:
                heads[head] = None
                rows, columns = (slice(max(0, place - radius), place + radius + 1) for place in (row, column))
                density[rows, columns] -= down[row, rows, None] * across[column, columns]
        found.append(torch.tensor(list(heads), dtype=torch.long).view(-1, 2))
    return found


def local_maxima(maps: Float[Tensor, "batch 1 h w"]) -> list[Tensor]:
    """For each density map [peaks, 2], column and row of the pixels above 0 and above all eight neighbours, the
    highest first. A plateau has none.
    """
    maps = maps.detach().cpu()
    height, width = maps.shape[2:]
    padded = F.pad(maps, (1, 1, 1, 1), value=-torch.inf)
    shifted = [
        padded[..., row : row + height, column : column + width]
        for row in range(3)
        for column in range(3)
        if (row, column) != (1, 1)
    ]
    higher = (maps > torch.stack(shifted).amax(0)) & (maps > 0)
    found = []
    for density, peak in zip(maps[:, 0], higher[:, 0], strict=True):
        rows, columns = peak.nonzero(as_tuple=True)
        order = density[rows, columns].argsort(descending=True, stable=True)
        found.append(torch.stack([columns, rows], 1)[order])
    return found


def _below(peak: int, length: int, radius: int) -> int:
    """The pixel of the head whose gaussian peaks here: the same, but near a border.

    There `density_maps` puts the peak in the middle of what is left of the square. Where a side of the map is shorter
    than the square nothing can be told.
    """
    behind = length - 1 - peak
    if length <= 2 * radius:
        return peak
    if peak < radius:
        return max(0, 2 * peak - radius)
    return length - 1 - max(0, 2 * behind - radius) if behind < radius else peak


def _bells(length: int, radius: int, sigma: float, like: Tensor) -> Tensor:
    """[length, length] in row c, one side of the gaussian of a head at pixel c: of sum 1, 0 beyond `radius`."""
    pixel = torch.arange(length, device=like.device, dtype=like.dtype)
    first, last = (pixel - radius).clamp(min=0), (pixel + radius).clamp(max=length - 1)
    distance = pixel - (first + last)[:, None] / 2
    inside = (pixel >= first[:, None]) & (pixel <= last[:, None])
    bells = torch.exp(-distance.square() / (2 * sigma**2)) * inside
    return bells / bells.sum(1, keepdim=True)
