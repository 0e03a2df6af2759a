"""Samples by id over any map-style data set. Which of them are labelled is a matter of ids, never of copies."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from lossrank.errors import ConfigError, DataError, listed
from lossrank.ledger import SampleId
from lossrank.requirements import require_count
from lossrank.sources import (
    Batch,
    InMemory,
    MapStyle,
    Samples,
    Source,
    Targets,
    UnreadableSample,
    gather,
    moved,
    rows_of,
    stack,
)

__all__ = ["Batch", "Pool", "SampleId", "Samples", "Targets", "Transform", "UnreadableSample"]


class Transform(Protocol):
    """Inputs [batch, ...], targets [batch, ...] and a generator to the same two, changed."""

    def __call__(
        self, inputs: Tensor, targets: Targets, generator: torch.Generator | None, /
    ) -> tuple[Tensor, Targets]: ...


class Pool:
    """Samples by id. Nothing is ever copied: views share what they look at.

    Args:
        samples: a tensor of inputs [N, ...] held in memory (images as uint8 [N, channels, height, width]), or a
            map-style data set whose items are (input, target), or a `Source`.
        ids: a distinct string for each sample: a file name, a key. `samples.ids` if not given.
        targets: beside a tensor: its targets [N, ...], or None where there are no labels. Beside a data set: True for
            items (input, target), False for bare inputs, or all the targets, so that they can be looked up without
            reading inputs.
        workers: processes that read a data set ahead.

    Warns:
        UserWarning: the data set gives another input each time it is asked for the same sample.

    Raises:
        DataError: no samples, another number of ids, ids that repeat, or ids that are no strings.
    """

    def __init__(
        self,
        samples: Samples | Tensor | Source,
        ids: Sequence[SampleId] | None = None,
        targets: Targets | bool | None = None,
        *,
        workers: int = 0,
    ) -> None:
        if not isinstance(samples, Source):
            samples = _source(samples, ids, targets, workers)
        self._source = samples
        self._members = frozenset(samples.ids)
        self._answers: _Answers | None = None
        self.ids = tuple(i for i in samples.ids if i not in samples.unreadable)
        """All samples that were not known to be unreadable when the pool was made."""

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, sample: object) -> bool:
        return sample in self._members and sample not in self._source.unreadable

    @property
    def unreadable(self) -> dict[SampleId, str]:
        """Samples that turned out to be unreadable, with the reason. They are left out of every batch."""
        return {i: why for i, why in self._source.unreadable.items() if i in self._members}

    def leave_out(self, unreadable: Mapping[SampleId, str]) -> None:
        """Take it from elsewhere that these samples cannot be read, with the reason."""
        self._source.unreadable.update(unreadable)

    def seed_draws(self, seed: int) -> None:
        """Seed what the data set draws at random while it is read: a pass over the same ids then draws the same."""
        self._source.seed = seed

    def place(self, device: torch.device) -> None:
        """Keep the inputs on a device, where batches are then cut; targets follow batch by batch.

        Raises:
            ConfigError: the samples are not held in memory.
        """
        if not isinstance(self._source, InMemory):
            raise ConfigError(
                "train.resident is for samples that are held in memory; these are read from files as they are needed"
            )
        self._source.place(device)

    def view(self, ids: Sequence[SampleId]) -> Pool:
        """A pool of these samples alone, in this order.

        Raises:
            DataError: no ids, ids that repeat, or ids that are not in this pool.
        """
        self._check_known(ids)
        rows_of(ids, len(ids))
        view = copy.copy(self)
        view._members = frozenset(ids)
        view.ids = tuple(i for i in ids if i not in self._source.unreadable)
        return view

    def answered(self, answers: Mapping[SampleId, Targets]) -> Pool:
        """The same samples with these answers for targets: one target each, without the batch dimension.

        Batches can then be asked of answered samples only.
        """
        self._check_known(tuple(answers))
        view = copy.copy(self)
        view._answers = _Answers(answers) if answers else None
        return view

    def batches(
        self,
        ids: Sequence[SampleId] | None = None,
        batch_size: int = 256,
        *,
        transform: Transform | None = None,
        generator: torch.Generator | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
    ) -> Iterator[Batch]:
        """Batches in the order of `ids`, or of one permutation drawn from `generator` now.

        The ids are cut into batches first; samples that cannot be read are then left out of theirs, so a batch holds
        the same samples whether or not it was known beforehand which ones are unreadable.

        Args:
            ids: which samples; all of them if not given.
            transform: applied to each whole batch, with `generator`.
            drop_last: leave out a last batch of fewer ids than `batch_size`.

        Raises:
            DataError: an id is not in the pool, has no answer in an answered pool, or nothing can be read at all.
            ConfigError: a batch size below 1, or shuffling without a generator.
        """
        ids = self.ids if ids is None else ids
        require_count("batch_size", batch_size)
        self._check_known(ids)
        if self._answers is not None:
            self._answers.check(ids)
        if shuffle:
            ids = _shuffled(ids, generator)
        begins = range(0, len(ids) - batch_size + 1 if drop_last else len(ids), batch_size)
        return self._stream([ids[begin : begin + batch_size] for begin in begins], transform, generator)

    def targets(self, ids: Sequence[SampleId]) -> Targets:
        """The targets [len(ids), ...] of these samples, in order; their answers in an answered pool."""
        self._check_known(ids)
        return self._source.targets(ids) if self._answers is None else self._answers.of(ids)

    def thumbnail(self, sample: SampleId) -> Image.Image | None:
        """The sample as a picture of its own size; None where it is no image or cannot be read."""
        self._check_known([sample])
        return None if sample in self._source.unreadable else self._source.picture(sample)

    def _stream(
        self,
        chunks: Sequence[Sequence[SampleId]],
        transform: Transform | None,
        generator: torch.Generator | None,
    ) -> Iterator[Batch]:
        for batch in self._source.stream(chunks):
            if not batch.ids:
                continue
            if self._answers is not None:
                batch = batch._replace(targets=self._answers.of(batch.ids))
            if batch.inputs.device.type != "cpu":
                batch = batch._replace(targets=moved(batch.targets, batch.inputs.device))
            if transform is not None:
                inputs, targets = transform(batch.inputs, batch.targets, generator)
                batch = Batch(batch.ids, inputs, targets)
            yield batch
        unreadable = self.unreadable
        if len(unreadable) == len(self._members):
            reasons = (f"{i} ({why})" for i, why in unreadable.items())
            raise DataError(f"none of the {len(unreadable)} samples can be read: {listed(reasons, 3)}")

    def _check_known(self, ids: Sequence[SampleId]) -> None:
        if isinstance(ids, str):
            raise DataError(f"ids is the string {ids!r}; expected a sequence of ids")
        if not self._members.issuperset(ids):
            foreign = [sample for sample in ids if sample not in self._members]
            raise DataError(f"{len(foreign)} ids are not in this pool of {len(self)}: {listed(foreign)}")


class _Answers:
    """Targets by id, stacked once so that a batch is one gather."""

    def __init__(self, answers: Mapping[SampleId, Targets]) -> None:
        ids = list(answers)
        self._rows = {sample: row for row, sample in enumerate(ids)}
        self._targets = stack([answers[i] for i in ids], ids)

    def check(self, ids: Sequence[SampleId]) -> None:
        unanswered = [i for i in ids if i not in self._rows]
        if unanswered:
            raise DataError(f"{len(unanswered)} samples have no answer: {listed(unanswered)}")

    def of(self, ids: Sequence[SampleId]) -> Targets:
        self.check(ids)
        return gather(self._targets, torch.tensor([self._rows[i] for i in ids], dtype=torch.long))


def _source(
    samples: Samples | Tensor, ids: Sequence[SampleId] | None, targets: Targets | bool | None, workers: int
) -> Source:
    ids = getattr(samples, "ids", None) if ids is None else ids
    if ids is None:
        raise DataError(
            "a pool needs ids: pass ids=[...], one string for each sample, or give the data set an attribute `ids`"
        )
    if isinstance(samples, Tensor):
        return InMemory(samples, ids, targets)
    source = MapStyle(samples, ids, True if targets is None else targets, workers=workers)
    if source.is_random():
        warnings.warn(
            "the data set gives another input each time it is asked for the same sample: its transform is random, so "
            "scores would be too. Give the pool plain samples, and augment in training",
            UserWarning,
            stacklevel=3,
        )
    return source


def _shuffled(ids: Sequence[SampleId], generator: torch.Generator | None) -> list[SampleId]:
    if generator is None:
        raise ConfigError("shuffle=True needs a generator: lossrank draws nothing from the global one")
    return [ids[row] for row in torch.randperm(len(ids), generator=generator).tolist()]
