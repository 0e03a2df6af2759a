"""Samples by id over any map-style data set. Which of them are labelled is a matter of ids, never of copies."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor

from lossrank.errors import DataError, listed
from lossrank.ledger import SampleId

__all__ = ["Batch", "Pool", "Samples", "Transform", "UnreadableSample"]

Transform = Callable[[Tensor, Tensor, torch.Generator | None], tuple[Tensor, Tensor]]
"""inputs [batch, ...], targets [batch, ...] and a generator to the same two, changed."""


class UnreadableSample(Exception):  # noqa: N818 - a fact about a sample, caught by the pool
    """A data set raises it for a sample that cannot be read; the pool leaves the sample out and lists it."""


class Samples(Protocol):
    """A map-style data set: `(input, target)` by position. The pool alone knows positions."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Batch(NamedTuple):
    """Samples with their ids."""

    ids: tuple[SampleId, ...]
    inputs: Tensor
    targets: Tensor


class Pool:
    """Samples by id.

    Args:
        samples: a map-style data set of (input, target), or a tensor of inputs [N, ...] held in memory.
        ids: a distinct string for each sample: a file name, a key. `samples.ids` if not given.
        targets: [N, ...] where `samples` is a tensor; a sample without one has -1.

    Raises:
        DataError: no samples, another number of ids, ids that repeat, or ids that are no strings.
    """

    def __init__(
        self, samples: Samples | Tensor, ids: Sequence[SampleId] | None = None, targets: Tensor | None = None
    ) -> None:
        ids = getattr(samples, "ids", None) if ids is None else ids
        if ids is None:
            raise DataError("a pool needs ids: pass ids=[...], or give the data set an attribute `ids`")
        self.ids = tuple(ids)
        self.unreadable: dict[SampleId, str] = dict(getattr(samples, "unreadable", {}))
        """Samples that could not be read, with the reason; they are left out of every batch."""
        self._samples = samples
        self._rows = {sample: row for row, sample in enumerate(self.ids)}
        self._answers: Mapping[SampleId, Tensor] | None = None
        self._targets = targets
        if isinstance(samples, Tensor) and targets is None:
            self._targets = torch.full((len(samples),), -1)
        self._check()
        self._warn_if_random()

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, sample: object) -> bool:
        return sample in self._rows

    def answered(self, answers: Mapping[SampleId, Tensor]) -> Pool:
        """A view of this pool whose targets are the answers given here; nothing is copied."""
        view = object.__new__(Pool)
        view.__dict__.update(self.__dict__)
        view._answers = answers
        return view

    def batches(
        self,
        ids: Sequence[SampleId],
        batch_size: int,
        *,
        transform: Transform | None = None,
        generator: torch.Generator | None = None,
    ) -> Iterator[Batch]:
        """Batches in the order of `ids`; samples that cannot be read are left out.

        Args:
            transform: applied to each whole batch, with `generator`.
        """
        for begin in range(0, len(ids), batch_size):
            batch = self._fetch(ids[begin : begin + batch_size])
            if batch is None:
                continue
            inputs, targets = batch.inputs, batch.targets
            if transform is not None:
                inputs, targets = transform(inputs, targets, generator)
            yield Batch(batch.ids, inputs, targets)

    def targets(self, ids: Sequence[SampleId]) -> list[Tensor]:
        """The target of each sample."""
        rows = self._look_up(ids)
        if self._targets is not None:
            return [self._targets[row] for row in rows]
        if hasattr(self._samples, "targets"):
            return [torch.as_tensor(self._samples.targets[row]) for row in rows]
        assert not isinstance(self._samples, Tensor)
        return [torch.as_tensor(self._samples[row][1]) for row in rows]

    def thumbnail(self, sample: SampleId) -> Image.Image | None:
        """The sample as a small picture; None where it is no image of bytes."""
        batch = self._fetch([sample])
        if batch is None or batch.inputs.dtype != torch.uint8 or batch.inputs.ndim != 4:
            return None
        pixels = batch.inputs[0].permute(1, 2, 0).numpy()
        return Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)

    def _fetch(self, ids: Sequence[SampleId]) -> Batch | None:
        wanted = [i for i in ids if i not in self.unreadable]
        if isinstance(self._samples, Tensor):
            rows = torch.tensor(self._look_up(wanted), dtype=torch.long)
            assert self._targets is not None
            parts = (wanted, self._samples[rows], self._targets[rows])
        else:
            parts = self._read(wanted)
        if not parts[0]:
            return None
        if self._answers is not None:
            parts = (parts[0], parts[1], torch.stack([self._answers[i] for i in parts[0]]))
        return Batch(tuple(parts[0]), parts[1], parts[2])

    def _read(self, ids: Sequence[SampleId]) -> tuple[Sequence[SampleId], Tensor, Tensor]:
        assert not isinstance(self._samples, Tensor)
        read: list[SampleId] = []
        inputs, targets = [], []
        for sample, row in zip(ids, self._look_up(ids), strict=True):
            try:
                value, target = self._samples[row]
            except UnreadableSample as why:
                self.unreadable[sample] = str(why)
                continue
            read.append(sample)
            inputs.append(torch.as_tensor(value))
            targets.append(torch.as_tensor(target))
        if not read:
            return [], torch.empty(0), torch.empty(0)
        return read, torch.stack(inputs), torch.stack(targets)

    def _look_up(self, ids: Sequence[SampleId]) -> list[int]:
        try:
            return [self._rows[sample] for sample in ids]
        except KeyError:
            foreign = [sample for sample in ids if sample not in self._rows]
            raise DataError(
                f"{len(foreign)} ids are not in this pool of {len(self)}: {listed(foreign)}"
            ) from None

    def _check(self) -> None:
        if not self.ids:
            raise DataError("the pool is empty: there is nothing to choose from")
        if len(self.ids) != len(self._samples):
            raise DataError(f"{len(self._samples)} samples came with {len(self.ids)} ids")
        strange = [i for i in self.ids if not isinstance(i, str)]
        if strange:
            raise DataError(
                f"ids are strings such as file names; found {type(strange[0]).__name__}: {listed(strange)}"
            )
        if len(self._rows) != len(self.ids):
            repeated = [i for row, i in enumerate(self.ids) if self._rows[i] != row]
            raise DataError(f"{len(repeated)} ids stand for more than one sample: {listed(repeated)}")

    def _warn_if_random(self) -> None:
        if isinstance(self._samples, Tensor) or self.ids[0] in self.unreadable:
            return
        try:
            first, again = (torch.as_tensor(self._samples[0][0]) for _ in range(2))
        except UnreadableSample:
            return
        if not torch.equal(first, again):
            warnings.warn(
                "the data set gives another input each time it is asked for the same sample: its transform is random, "
                "so scores would be too. Give the pool plain samples and the recipe the augmentation",
                UserWarning,
                stacklevel=3,
            )
