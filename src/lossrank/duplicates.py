"""How many of a batch of questions look alike: by their pixels, so that every strategy is measured by one ruler."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lossrank.ledger import SampleId
from lossrank.pool import Pool

__all__ = ["ALIKE", "near_duplicates", "share_alike", "thumbnails"]

ALIKE = 0.99
"""Correlation of two thumbnails from which on they count as one picture."""
SIDE = 8


def share_alike(pool: Pool, ids: Sequence[SampleId], batch_size: int = 256) -> float | None:
    """The share of these samples that look like another one of them; None for none, or where they are no images."""
    looks = []
    for batch in pool.batches(ids, batch_size) if ids else ():
        if batch.inputs.ndim != 4:
            return None
        looks.append(thumbnails(batch.inputs).cpu())
    return near_duplicates(torch.cat(looks)) if looks else None


def thumbnails(images: Tensor) -> Tensor:
    """Images [batch, channels, height, width] as 8 x 8 averages, without mean and of length 1: [batch, channels * 64].

    A picture of one colour becomes zeros and is like no other.
    """
    small = F.adaptive_avg_pool2d(images.float(), SIDE).flatten(1)
    return F.normalize(small - small.mean(1, keepdim=True), dim=1)


def near_duplicates(looks: Tensor) -> float:
    """The share of thumbnails [N, length] that correlate with another one by 0.99 or more."""
    if len(looks) == 0:
        return 0.0
    alike = torch.zeros(len(looks), dtype=torch.bool)
    for begin in range(0, len(looks), 1024):
        likeness = looks[begin : begin + 1024] @ looks.T
        likeness[torch.arange(len(likeness)), torch.arange(begin, begin + len(likeness))] = -1  # itself
        alike[begin : begin + 1024] = likeness.amax(1) >= ALIKE
    return float(alike.float().mean())
