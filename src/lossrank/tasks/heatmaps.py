"""Heatmaps of joints: gaussian targets, decoding, entropy, the flip test. Pure functions over [batch, joints, h, w].

The numbers are those of the reference code of Simple Baselines (Xiao et al., 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lossrank.tasks.softmax import Softmax

__all__ = [
    "FlipTested",
    "decode",
    "gaussian_targets",
    "heatmap_entropy",
    "joints_mse",
    "peaks",
    "second_peaks",
    "swap_joints",
]


def gaussian_targets(
    joints: Float[Tensor, "batch joints 2"],
    visible: Tensor,
    size: tuple[int, int],
    *,
    stride: float = 4.0,
    sigma: float = 2.0,
) -> tuple[Float[Tensor, "batch joints h w"], Float[Tensor, "batch joints"]]:
    """A gaussian of peak 1 around each joint, cut off three sigma from its centre; and the weight of each joint.

    The centre is the pixel `int(x / stride + 0.5)`. A joint whose patch lies wholly outside, that is not visible, or
    whose coordinates are not finite, has an empty map and weight 0.

    Args:
        joints: x, y in pixels of the network's input.
        visible: [batch, joints], 0 or 1; a number between is kept as the weight.
        size: height and width of a heatmap.
        stride: pixels of the input for one pixel of a heatmap.
        sigma: in pixels of a heatmap.

    Returns:
        Maps [batch, joints, height, width] and weights [batch, joints].
    """
    height, width = size
    radius = int(3 * sigma)
    finite = joints.isfinite().all(-1)
    centre = torch.where(finite[..., None], joints / stride + 0.5, 0).trunc()
    limits = torch.tensor([width, height], dtype=centre.dtype, device=centre.device)
    # `>= -1`: the reference asks whether the patch's end, one beyond its last pixel, is negative.
    near = ((centre - radius < limits) & (centre + radius >= -1)).all(-1)
    weight = torch.where(finite & near, visible.to(joints.dtype), 0)
    x, y = (_bell(centre[..., axis], length, radius, sigma) for axis, length in enumerate((width, height)))
    y = y * (weight > 0.5)[..., None]
    return y[..., :, None] * x[..., None, :], weight


def joints_mse(
    maps: Float[Tensor, "batch joints h w"], truth: Float[Tensor, "batch joints h w"], weight: Tensor
) -> Float[Tensor, " batch"]:
    """[batch] the mean over joints of half the weighted mean squared error of a map (the reference's JointsMSELoss).

    Its mean over the batch is the reference's training loss.

    Args:
        weight: [batch, joints], applied to prediction and truth before squaring.
    """
    return 0.5 * ((maps - truth).square().mean((2, 3)) * weight.square()).mean(1)


def peaks(maps: Float[Tensor, "batch joints h w"]) -> tuple[Tensor, Tensor]:
    """Column and row [batch, joints, 2] of the largest value of each map, and that value [batch, joints].

    Where the largest value is not above 0, column and row are 0. Of several largest the first is taken, row by row.
    """
    width = maps.shape[3]
    value, index = maps.flatten(2).max(2)
    place = torch.stack([index % width, index // width], -1).to(maps.dtype)
    return place * (value > 0)[..., None], value


def second_peaks(maps: Float[Tensor, "batch joints h w"], *, radius: int) -> Float[Tensor, "batch joints"]:
    """[batch, joints] the largest value further than `radius` pixels, in x or y, from the peak of each map.

    Where no pixel is that far, the smallest value of the map. Close to the peak says that the model saw two places.
    """
    height, width = maps.shape[2:]
    index = maps.flatten(2).argmax(2)
    rows, columns = torch.arange(height, device=maps.device), torch.arange(width, device=maps.device)
    near_row = (rows - (index // width)[..., None]).abs() <= radius
    near_column = (columns - (index % width)[..., None]).abs() <= radius
    near = near_row[..., :, None] & near_column[..., None, :]
    return torch.where(near, maps.amin((2, 3), keepdim=True), maps).amax((2, 3))


def decode(
    maps: Float[Tensor, "batch joints h w"], *, stride: float = 1.0, quarter_offset: bool = True
) -> tuple[Tensor, Tensor]:
    """Joints [batch, joints, 2] as x, y in pixels of the network's input, and the maps' peaks [batch, joints].

    Args:
        stride: pixels of the input for one pixel of a heatmap; 1 gives pixels of the heatmap.
        quarter_offset: move a quarter of a pixel from the peak towards the larger of its two neighbours, in x and y,
            unless the peak is within two pixels of the left and upper or one of the right and lower border.
    """
    maps = maps.float()
    place, value = peaks(maps)
    if quarter_offset:
        place = place + 0.25 * _slope(maps, place)
    return place * stride, value


def heatmap_entropy(maps: Float[Tensor, "batch joints h w"]) -> Float[Tensor, "batch joints"]:
    """[batch, joints] entropy of the softmax over the pixels of each map, natural logarithm."""
    return Softmax(maps.float().flatten(2)).entropy()


def swap_joints(values: Tensor, pairs: Sequence[tuple[int, int]], dim: int = 1) -> Tensor:
    """The values of each pair of joints exchanged along `dim`: what a mirror image makes of left and right."""
    order = list(range(values.shape[dim]))
    for a, b in pairs:
        order[a], order[b] = b, a
    return values.index_select(dim, torch.tensor(order, device=values.device))


class FlipTested(nn.Module):
    """A model that, in evaluation mode, averages the heatmaps of an image and of its mirror image.

    The mirror image's maps are mirrored back, left and right joints exchanged, and moved one pixel to the right, the
    first column kept, as the reference does. The upright image goes through last, so that what listens to the model's
    layers hears that one. In training mode it is the model alone.

    Args:
        pairs: left and right joints.
    """

    def __init__(self, model: nn.Module, pairs: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.model = model
        self.pairs = tuple(pairs)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to heatmaps [batch, joints, h, w]."""
        if self.training:
            return self.model(x)  # type: ignore[no-any-return]
        mirrored = swap_joints(self.model(x.flip(3)).flip(3), self.pairs)
        mirrored = torch.cat([mirrored[..., :1], mirrored[..., :-1]], 3)
        return 0.5 * (self.model(x) + mirrored)  # type: ignore[no-any-return]


def _bell(centre: Tensor, length: int, radius: int, sigma: float) -> Tensor:
    """[..., length] one side of a gaussian; 0 further than `radius` from the centre."""
    distance = torch.arange(length, device=centre.device, dtype=centre.dtype) - centre[..., None]
    return torch.exp(-distance.square() / (2 * sigma**2)) * (distance.abs() <= radius)


def _slope(maps: Tensor, place: Tensor) -> Tensor:
    """[batch, joints, 2] the sign of the difference of the peak's neighbours in x and y; 0 near a border."""
    height, width = maps.shape[2:]
    limits = torch.tensor([width, height], dtype=place.dtype, device=place.device)
    inside = ((place > 1) & (place < limits - 1)).all(-1)
    column, row = torch.where(inside[..., None], place, 1).long().unbind(-1)
    flat, index = maps.flatten(2), row * width + column

    def at(offset: int) -> Tensor:
        return flat.gather(2, (index + offset)[..., None])[..., 0]

    # Where nothing is inside (a map below 3 pixels) the neighbours may not exist.
    if min(height, width) < 3:
        return torch.zeros_like(place)
    slope = torch.stack([at(1) - at(-1), at(width) - at(-width)], -1)
    return slope.sign() * inside[..., None]
