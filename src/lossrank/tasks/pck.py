"""Percentage of correct keypoints, normalised by the head (PCKh): MPII's evaluation, and any data set's own head size.

Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", 2014.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

__all__ = ["HEAD_ROW", "MPII_HEAD_BOX", "correct", "head_length", "mpii_table", "pckh"]

HEAD_ROW = -1.0
"""Stands where a joint has its visibility, in the row of a target that holds the annotated head size."""

MPII_HEAD_BOX = 0.6
"""MPII's head size is this share of the diagonal of the annotated head box."""

MPII_ROWS: Mapping[str, tuple[int, ...]] = {
    "Head": (9,),
    "Shoulder": (12, 13),
    "Elbow": (11, 14),
    "Wrist": (10, 15),
    "Hip": (2, 3),
    "Knee": (1, 4),
    "Ankle": (0, 5),
}
MPII_MASKED = (6, 7)  # pelvis and thorax


def correct(predicted: Tensor, truth: Tensor, head: Tensor, threshold: float = 0.5) -> Tensor:
    """[batch, joints] whether a joint is no further from the truth than `threshold` head sizes.

    Args:
        predicted, truth: [batch, joints, 2], in one unit.
        head: [batch] head sizes in the same unit.
    """
    distance = torch.linalg.vector_norm(predicted.double() - truth.double(), dim=-1)
    near: Tensor = distance / head.double()[:, None] <= threshold
    return near


def pckh(
    predicted: Tensor,
    truth: Tensor,
    visible: Tensor,
    head: Tensor,
    *,
    threshold: float = 0.5,
    masked: Collection[int] = (),
) -> tuple[int, int]:
    """How many joints are right, of how many that count: their ratio is the pooled PCKh.

    What counts is a visible joint with finite coordinates, in a sample whose head size is finite and above 0.

    Args:
        predicted, truth: [batch, joints, 2], in one unit.
        visible: [batch, joints], true or false.
        head: [batch] head sizes in the same unit.
        masked: joints that never count; MPII leaves out pelvis and thorax (6 and 7).
    """
    counted = visible.bool() & truth.isfinite().all(-1) & (head.isfinite() & (head > 0))[:, None]
    counted[:, list(masked)] = False
    right = correct(predicted, truth, head, threshold) & counted
    return int(right.sum()), int(counted.sum())


def head_length(joints: Tensor, visible: Tensor, ends: tuple[int, int]) -> Tensor:
    """[batch] distance between two joints, as neck and top of the head in Leeds Sports Pose; NaN where one is unseen.

    Args:
        joints: [batch, joints, 2].
        visible: [batch, joints].
        ends: the two joints.
    """
    first, second = ends
    length = (joints[:, first] - joints[:, second]).norm(dim=-1)
    return torch.where(visible[:, first].bool() & visible[:, second].bool(), length, torch.nan)


def mpii_table(predicted: Tensor, truth: Tensor, visible: Tensor, head: Tensor) -> dict[str, float]:
    """MPII's nine numbers in per cent, as its evaluation and the reference code print them.

    A row of two joints is the plain mean of left and right. `Mean` is pooled over the visible ones of 14 joints;
    `Mean@0.1` uses a threshold of 0.11, because the reference takes the twelfth of 0, 0.01, 0.02, ...

    Args:
        predicted, truth: [batch, 16, 2] in MPII's order of joints, in pixels of the original image.
        visible: [batch, 16].
        head: [batch] head sizes: `MPII_HEAD_BOX` times the diagonal of the head box.
    """
    seen = visible.bool()
    counts = seen.sum(0).double()
    table = {}
    rates = 100 * (correct(predicted, truth, head) & seen).sum(0) / counts
    for name, members in MPII_ROWS.items():
        table[name] = float(rates[list(members)].mean())
    for name, threshold in (("Mean", 0.5), ("Mean@0.1", 0.11)):
        table[name] = 100 * _share(*pckh(predicted, truth, visible, head, threshold=threshold, masked=MPII_MASKED))
    return table


def _share(right: int, counted: int) -> float:
    return right / counted if counted else float("nan")
