"""A pool whose classes are unequal on purpose: what a strategy is worth where most of the pool is of few classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from torch import Tensor

from lossrank.datasets.base import ImageData, hash_share
from lossrank.errors import ConfigError
from lossrank.ledger import SampleId
from lossrank.seeding import derive_seed

__all__ = ["tail", "with_long_tail"]


def with_long_tail(data: ImageData, factor: float, seed: int) -> ImageData:
    """The same data, its pool thinned to a long tail; the held-out samples stay as they are.

    Raises:
        ConfigError: the factor is below 1, or targets are no class indices.
    """
    if not factor >= 1:
        raise ConfigError(f"long_tail must be >= 1 (1: no tail), got {factor}")
    if factor == 1:
        return data
    targets = data.train.targets(data.train.ids)
    if not isinstance(targets, Tensor) or targets.ndim != 1 or targets.is_floating_point():
        raise ConfigError("long_tail thins classes; the targets of this data set are no class indices")
    kept = tail(dict(zip(data.train.ids, targets.tolist(), strict=True)), factor, len(data.classes), seed)
    note = f"the pool has a long tail on purpose: the largest class {factor:g} times the smallest"
    pool = data.train.view([i for i in data.train.ids if i in kept])
    return dataclasses.replace(data, train=pool, notes=(*data.notes, note))


def tail(classes: Mapping[SampleId, int], factor: float, count: int, seed: int) -> set[SampleId]:
    """The ids that stay: of the class at place k of `count`, n * factor ** (-k / (count - 1)) (Cui et al. 2019).

    n is the size of the smallest class, so that the profile is exact where classes are unequal to begin with. Which
    class stands at which place, and which of its samples stay, depends on the seed and on names alone, so every
    strategy at one seed has the same pool, and what stays at a factor of 100 stays at 10. Each class keeps one sample
    at least.

    Args:
        classes: of each id, below `count`.
    """
    key = derive_seed(seed, "tail")
    by_class: dict[int, list[SampleId]] = {index: [] for index in range(count)}
    for sample, index in classes.items():
        by_class[index].append(sample)
    places = sorted(by_class, key=lambda index: hash_share(f"{key}/class/{index}"))
    most = min((len(found) for found in by_class.values() if found), default=0)
    kept: set[SampleId] = set()
    for place, index in enumerate(places):
        share = factor ** (-place / (count - 1)) if count > 1 else 1.0
        ranked = sorted(by_class[index], key=lambda sample: hash_share(f"{key}/{sample}"))
        kept.update(ranked[: max(1, round(most * share))])
    return kept
