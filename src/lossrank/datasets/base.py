"""What every data set gives: a pool, held-out samples, class names, and the statistics of its pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lossrank.errors import DataError, listed
from lossrank.ledger import SampleId
from lossrank.pool import Pool
from lossrank.requirements import require_count, require_share

__all__ = ["ImageData", "check_classes", "hash_share", "held_out", "pixel_statistics", "subset"]


@dataclass(frozen=True)
class ImageData:
    """A data set, split. Targets are indices into `classes`."""

    train: Pool
    """What may be labelled."""
    test: Pool
    """Held out, to measure on."""
    classes: Sequence[str]
    mean: Sequence[float]
    """Of each channel of the training pixels, on a scale of 0 to 1; empty where inputs are no bytes."""
    std: Sequence[float]
    notes: Sequence[str] = ()
    """What a reader of the results should know about the data."""

    @property
    def channels(self) -> int | None:
        """Channels of an image; None where `mean` does not tell."""
        return len(self.mean) or None


def pixel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of [N, channels, height, width] bytes, on a scale of 0 to 1.

    Exact: bytes are counted. A channel that never changes has a standard deviation of 1 / 255, one step of a byte.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    step = max(1, (1 << 22) // max(1, images[0, 0].numel()))  # counting takes eight bytes for each of its pixels
    for channel in range(images.shape[1]):
        count = torch.zeros(256, dtype=torch.float64)
        for begin in range(0, len(images), step):
            part = images[begin : begin + step, channel].reshape(-1)
            count += torch.bincount(part, minlength=256)
        share = count / count.sum()
        mean = (share * values).sum()
        means.append(float(mean))
        stds.append(max(float((share * (values - mean).square()).sum().sqrt()), 1 / 255))
    return tuple(means), tuple(stds)


def hash_share(sample: SampleId) -> float:
    """A number in [0, 1) that depends on the id alone: BLAKE2b, 8 bytes."""
    digest = hashlib.blake2b(sample.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def subset(pool: Pool, count: int | None, what: str) -> Pool:
    """The `count` samples with the smallest hashes, in the pool's order; all of them if None.

    Raises:
        ConfigError: the pool has fewer, or none is asked for. `what` names the option.
    """
    if count is None:
        return pool
    require_count(what, count, 1, len(pool))
    chosen = set(sorted(pool.ids, key=hash_share)[:count])
    return pool.view([i for i in pool.ids if i in chosen])


def held_out(classes: Mapping[SampleId, int], fraction: float) -> set[SampleId]:
    """The ids to measure on: those whose hash falls below `fraction`, so that new samples move no old one.

    A class of two or more samples always has one on either side: where chance would leave a side empty, the sample
    with the smallest (largest) hash goes there.

    Args:
        classes: the class of each id.

    Raises:
        ConfigError: the fraction is not between 0 and 1.
    """
    require_share("test_fraction", fraction)
    by_class: dict[int, list[tuple[float, SampleId]]] = {}
    for sample, index in classes.items():
        by_class.setdefault(index, []).append((hash_share(sample), sample))
    chosen: set[SampleId] = set()
    for ranked in by_class.values():
        ranked.sort()
        below = sum(share < fraction for share, _ in ranked)
        most = len(ranked) - 1
        chosen.update(sample for _, sample in ranked[: min(max(below, min(1, most)), most)])
    return chosen


def check_classes(targets: Tensor, ids: Sequence[SampleId], classes: Sequence[str]) -> None:
    """Refuse targets that are no index into `classes`.

    Raises:
        DataError: with the ids and their targets.
    """
    outside = ((targets < 0) | (targets >= len(classes))).nonzero().flatten().tolist()
    if outside:
        strange = (f"{ids[row]} ({int(targets[row])})" for row in outside)
        raise DataError(
            f"{len(outside)} labels are outside the {len(classes)} classes 0..{len(classes) - 1}: {listed(strange)}"
        )
