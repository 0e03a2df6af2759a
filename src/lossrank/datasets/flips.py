"""Answers that are wrong on purpose: what a strategy is worth when labels are dirty."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from lossrank.datasets.base import ImageData, hash_share
from lossrank.errors import ConfigError
from lossrank.ledger import SampleId
from lossrank.seeding import derive_seed

__all__ = ["flipped", "with_flips"]


def with_flips(data: ImageData, share: float, seed: int) -> ImageData:
    """The same data with a share of the answers of its pool wrong; the held-out samples stay as they are.

    Raises:
        ConfigError: the share is not between 0 and 1, or targets are no class indices.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"label_noise must be a number >= 0 and < 1, got {share}")
    if share == 0:
        return data
    targets = data.train.targets(data.train.ids)
    if not isinstance(targets, Tensor) or targets.ndim != 1 or targets.is_floating_point():
        raise ConfigError("label_noise flips classes; the targets of this data set are no class indices")
    if len(data.classes) < 2:
        raise ConfigError("label_noise needs 2 classes or more to put one in place of another")
    wrong = flipped(dict(zip(data.train.ids, targets.tolist(), strict=True)), share, len(data.classes), seed)
    answers = {i: torch.tensor(index) for i, index in wrong.items()}
    note = f"{share:.0%} of the pool's answers are wrong on purpose"
    return dataclasses.replace(data, train=data.train.answered(answers), notes=(*data.notes, note))


def flipped(classes: dict[SampleId, int], share: float, count: int, seed: int) -> dict[SampleId, int]:
    """Classes of which a share is another one, each other class equally often.

    Whether and to what an answer flips depends on the seed and the id alone, so every strategy at one seed is told the
    same, and what flips at 10 % flips at 30 %.

    Args:
        classes: of each id, below `count`.
    """
    key = derive_seed(seed, "noise")
    found = {}
    for sample, index in classes.items():
        turn = 1 + int(hash_share(f"{key}/to/{sample}") * (count - 1))
        found[sample] = (index + turn) % count if hash_share(f"{key}/{sample}") < share else index
    return found
