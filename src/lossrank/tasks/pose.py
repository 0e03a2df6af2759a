"""Human pose of one person per image, by one heatmap per joint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lossrank.errors import ConfigError, DataError
from lossrank.requirements import require_number
from lossrank.tasks.base import Metric, Task
from lossrank.tasks.heatmaps import FlipTested, decode, gaussian_targets, heatmap_entropy, joints_mse, second_peaks
from lossrank.tasks.pck import HEAD_ROW, head_length, pckh

__all__ = ["PCKh", "Pose"]


class PCKh(Metric):
    """Share of visible joints no further from the truth than half the head size, pooled over joints and samples.

    Args:
        task: reads heatmaps and targets.
        threshold: in head sizes.
        masked: joints that never count.
    """

    name: ClassVar[str] = "PCKh@0.5"
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "%"

    def __init__(self, task: Pose, threshold: float = 0.5, masked: Sequence[int] = ()) -> None:
        self.task, self.threshold, self.masked = task, threshold, tuple(masked)
        self.right = 0
        self.seen = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        xy, visible, head = self.task.read(targets)
        right, seen = pckh(
            self.task.predict(outputs)[..., :2], xy, visible, head, threshold=self.threshold, masked=self.masked
        )
        self.right += right
        self.seen += seen

    def compute(self) -> float:
        return self.right / self.seen if self.seen else float("nan")


class Pose(Task):
    """Gaussian heatmaps, visibility-weighted mean squared error, PCKh@0.5, and entropy of the heatmaps.

    Simple Baselines for Human Pose Estimation and Tracking (Xiao et al., 2018).

    A target is [joints, 3]: x, y in pixels of the image as the pool shows it (column and row, 0 is the first), and
    whether the joint is visible. Its heatmaps are made where the loss is computed, so that images may be turned and
    scaled on the way and nothing large is stored. Without `head` a target has one more row, (head size, 0, -1) in
    the same pixels, NaN where it is not known: such a sample trains and is not measured.

    A joint that is unseen, outside, or without finite coordinates has weight 0; a sample without any has loss 0.

    Args:
        joints: their names, in the order of the heatmaps.
        build: makes a model from a generator; its output is heatmaps [batch, joints, height, width].
        taps: layers a loss predictor may listen to, deepest last.
        pairs: left and right joints, by place in `joints`.
        links: joints that a limb joins, for pictures.
        head: the two joints whose distance is the head size, as neck and top of the head in Leeds Sports Pose. None:
            the head size is annotated (MPII: 0.6 times the diagonal of the head box).
        masked: joints that the metric leaves out; MPII's evaluation pelvis and thorax.
        stride: pixels of the input for one pixel of a heatmap.
        sigma: of the gaussians, in pixels of a heatmap.
        quarter_offset: whether decoding moves a quarter pixel towards the higher neighbour.
        flip_test: in evaluation, average with the mirror image; the model is then wrapped in `FlipTested`, and the
            taps carry its prefix `model.`.

    Raises:
        ConfigError: a joint's place is outside `joints`.
    """

    hints: ClassVar[int] = 1
    gives: ClassVar[frozenset[str]] = frozenset({"least_confidence", "margin"})

    def __init__(
        self,
        joints: Sequence[str],
        build: Callable[[torch.Generator], nn.Module],
        taps: tuple[str, ...],
        *,
        pairs: Sequence[tuple[int, int]] = (),
        links: Sequence[tuple[int, int]] = (),
        head: tuple[int, int] | None = None,
        masked: Sequence[int] = (),
        stride: float = 4.0,
        sigma: float = 2.0,
        quarter_offset: bool = True,
        flip_test: bool = False,
    ) -> None:
        named = (*(p for pair in (*pairs, *links) for p in pair), *(head or ()), *masked)
        outside = [p for p in named if p not in range(len(joints))]
        if outside:
            raise ConfigError(f"joints must be from 0 to {len(joints) - 1}, got {outside}")
        for name, value in (("stride", stride), ("sigma", sigma)):
            require_number(name, value, 0, above=True)
        self.joints = tuple(joints)
        self.pairs, self.links, self.head, self.masked = tuple(pairs), tuple(links), head, tuple(masked)
        self.stride, self.sigma, self.quarter_offset, self.flip_test = stride, sigma, quarter_offset, flip_test
        self.taps = tuple(f"model.{tap}" for tap in taps) if flip_test else tuple(taps)
        self._build = build

    def model(self, generator: torch.Generator) -> nn.Module:
        model = self._build(generator)
        return FlipTested(model, self.pairs) if self.flip_test else model

    def loss(self, outputs: Float[Tensor, "batch joints h w"], targets: Tensor) -> Float[Tensor, " batch"]:
        """[batch] mean over joints of half the mean squared error of the visible ones' maps; its mean trains.

        Args:
            outputs: heatmaps.
            targets: [batch, joints, 3], or with a row more for the head size.
        """
        maps = outputs.float()
        xy, visible, _ = self.read(targets)
        size = (maps.shape[2], maps.shape[3])
        truth, weight = gaussian_targets(xy, visible, size, stride=self.stride, sigma=self.sigma)
        return joints_mse(maps, truth, weight)

    def uncertainty(self, outputs: Float[Tensor, "batch joints h w"]) -> Float[Tensor, " batch"]:
        """[batch] entropy of the softmax over the pixels of each map, averaged over joints, natural logarithm."""
        return heatmap_entropy(outputs).mean(1)

    def summary(self, outputs: Float[Tensor, "batch joints h w"]) -> Float[Tensor, "batch summary"]:
        """[batch, 3 + 4 * joints] margin, one minus peak and entropy, as means over joints, each larger where the model
        is less sure; then peak, second peak, entropy and mass by joint.

        The margin is the hint: it ranks the loss better than peak and entropy do (LOG.md).
        The second peak lies outside the first's gaussian; the mass is what is above 0, in gaussians of peak 1. In
        the order of the joints, not sorted as classes are: the usual height of a peak differs from joint to joint, a
        wrist's being lower than a head's, so a value says how sure the model is only beside its joint's name.
        """
        maps = outputs.detach().float()
        peak, second = self._peaks(maps)
        mass = maps.clamp(min=0).sum((2, 3)) / (2 * math.pi * self.sigma**2)
        entropy = heatmap_entropy(maps).to(maps.dtype)
        means = torch.stack([1 - (peak - second).mean(1), 1 - peak.mean(1), entropy.mean(1)], 1)
        return torch.cat([means, peak, second, entropy, mass], 1)

    def columns(self, outputs: Float[Tensor, "batch joints h w"]) -> dict[str, Tensor]:
        """`least_confidence` and `margin` [batch]: one minus the peak, and minus its lead over the second, of each map.

        Averaged over joints. They are no probabilities and may fall below 0 or exceed 1.
        """
        peak, second = self._peaks(outputs.float())
        return {"least_confidence": 1 - peak.mean(1), "margin": 1 - (peak - second).mean(1)}

    def _peaks(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        return maps.amax((2, 3)), second_peaks(maps, radius=int(3 * self.sigma))

    def predict(self, outputs: Float[Tensor, "batch joints h w"]) -> Float[Tensor, "batch joints 3"]:
        """[batch, joints, 3] x, y in pixels of the input, and the peak of the map as confidence."""
        xy, peak = decode(outputs, stride=self.stride, quarter_offset=self.quarter_offset)
        return torch.cat([xy, peak[..., None]], -1)

    def read(self, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Targets [batch, rows, 3] as x, y [batch, joints, 2], visibility [batch, joints] and head size [batch].

        Raises:
            DataError: another number of rows than the task's targets have.
        """
        count = len(self.joints)
        rows = count + (self.head is None)
        if targets.ndim != 3 or targets.shape[1] not in (count, rows) or targets.shape[2] != 3:
            raise DataError(f"targets are {list(targets.shape)}; expected [batch, {rows}, 3] for {count} joints")
        xy, visible = targets[:, :count, :2], targets[:, :count, 2]
        if self.head is not None:
            return xy, visible, head_length(xy, visible, self.head)
        head = targets[:, count, 0] if targets.shape[1] > count else targets.new_full((len(targets),), math.nan)
        return xy, visible, head

    def target(self, answer: Any) -> Tensor:
        """[joints, 3], and a last row for the head size where the task needs one, of a labeller's answer.

        Args:
            answer: [[x, y, visible], ...] in the order of the joints, or {"joints": [...], "head_size": pixels}.
                An unseen joint may have null for x and y; `visible` is 0 or 1, or COCO's 0, 1 and 2.

        Raises:
            DataError: another number of joints, or values that are no numbers.
        """
        joints, head = (
            (answer.get("joints"), answer.get("head_size")) if isinstance(answer, Mapping) else (answer, None)
        )
        rows = [_joint(row, name) for row, name in zip(self._checked(joints), self.joints, strict=True)]
        if self.head is None:
            rows.append((_number(head, "head_size"), 0.0, HEAD_ROW))
        return torch.tensor(rows)

    def answer(self, target: Tensor) -> Any:
        """The joints as a list of [x, y, visible], within a dictionary where a head size belongs to it."""
        count = len(self.joints)
        joints = [[_plain(x), _plain(y), int(visible)] for x, y, visible in target[:count].tolist()]
        if self.head is not None:
            return joints
        return {"joints": joints, "head_size": _plain(float(target[count, 0])) if len(target) > count else None}

    def unmarked(self, answer: Any) -> bool:
        """Whether no joint is visible."""
        return not bool((self.target(answer)[: len(self.joints), 2] > 0).any())

    def form(self) -> dict[str, Any]:
        """`links`, places of joints that a limb joins, and `sides`, `left`, `right` or nothing for each joint."""
        sides = [""] * len(self.joints)
        for pair in self.pairs:
            left, right = pair if self.joints[pair[0]].lower().startswith("l") else pair[::-1]
            sides[left], sides[right] = "left", "right"
        return {"kind": "pose", "links": [list(link) for link in self.links], "sides": sides}

    def predictions(self, outputs: Tensor) -> list[Any]:
        """`joints`, [x, y, peak] of each, and `size`, height and width of the input that they are pixels of.

        The input is the middle of the picture where the picture is larger.
        """
        size = [round(side * self.stride) for side in outputs.shape[2:]]
        rounded = [[[round(v, 3) for v in joint] for joint in pose] for pose in self.predict(outputs).tolist()]
        return [{"joints": joints, "size": size} for joints in rounded]

    def metric(self) -> Metric:
        return PCKh(self, masked=self.masked)

    def _checked(self, joints: Any) -> Sequence[Any]:
        if not isinstance(joints, Sequence) or isinstance(joints, str) or len(joints) != len(self.joints):
            found = f"{len(joints)} entries" if isinstance(joints, Sequence) else f"a {type(joints).__name__}"
            raise DataError(
                f"an answer has {found}; expected [x, y, visible] for each of the {len(self.joints)} joints: "
                f"{', '.join(self.joints)}"
            )
        return joints


def _joint(row: Any, name: str) -> tuple[float, float, float]:
    if not isinstance(row, Sequence) or isinstance(row, str) or len(row) != 3:
        raise DataError(f"joint {name!r} is {row!r}; expected [x, y, visible]")
    x, y = _number(row[0], name), _number(row[1], name)
    seen = _number(row[2], name) > 0  # COCO's 1, labelled and hidden, trains as its 2 does
    return x, y, float(seen and math.isfinite(x) and math.isfinite(y))


def _number(value: Any, name: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, int | float):
        return float(value)
    raise DataError(f"{name!r} holds {value!r}; expected a number, or null for what is not known")


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
