"""Samples of any map-style data set: whatever a user's items are made of becomes tensors."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from lossrank.decoding import eight_bits
from lossrank.errors import DataError
from lossrank.ledger import SampleId
from lossrank.seeding import global_draws
from lossrank.sources.base import Batch, Samples, Source, Targets, UnreadableSample, as_picture, gather, stack

__all__ = ["MapStyle"]

# What broken files make readers raise. Anything else is a mistake in a data set's code and comes through.
BROKEN = (
    UnreadableSample,
    OSError,
    EOFError,
    ValueError,
    SyntaxError,  # Pillow's word for a broken PNG
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
    pickle.UnpicklingError,
    struct.error,
    zlib.error,
)


class MapStyle(Source):
    """Any map-style data set of (input, target) items, or of bare inputs where `targets` says there are none.

    Args:
        targets: True where items are (input, target) pairs; False where an item is an input; or the targets
            themselves, so that they can be looked up without reading the inputs.
        workers: processes that read ahead, as in `torch.utils.data.DataLoader`; 0 reads in this process.
        mixed_sizes: whether inputs may differ in shape. A chunk then gives a batch for each run of samples of one
            shape, in order, so that nothing is padded and no sample's result depends on its neighbours' shapes.
    """

    def __init__(
        self,
        samples: Samples,
        ids: Sequence[SampleId],
        targets: Targets | bool = True,
        *,
        workers: int = 0,
        mixed_sizes: bool = False,
    ) -> None:
        super().__init__(ids, _count(samples), getattr(samples, "unreadable", None))
        self._reader = _Reader(samples, pairs=targets is not False)
        self._known = None if isinstance(targets, bool) else targets
        self._workers = workers
        self._mixed = mixed_sizes

    def stream(self, chunks: Iterable[Sequence[SampleId]]) -> Iterator[Batch]:
        wanted = [tuple(i for i in chunk if i not in self.unreadable) for chunk in chunks]
        # The draws of a pass follow from the recipe's seed and from its ids, which a training shuffles anew each epoch.
        chunks_read = _Chunks(self._reader, [[self._rows[i] for i in ids] for ids in wanted], self._seed_of(wanted))
        for ids, items in zip(wanted, self._read(chunks_read), strict=True):
            yield from self._collated(ids, items)

    def targets(self, ids: Sequence[SampleId]) -> Targets:
        if self._known is not None:
            return gather(self._known, torch.tensor([self._rows[i] for i in ids], dtype=torch.long))
        found: list[Targets] = []
        for sample in ids:
            item = self._item(sample)
            if isinstance(item, _Broken):
                raise DataError(f"the target of {sample} cannot be read: {item.reason}")
            found.append(item[1])
        return stack(found, ids)

    def picture(self, sample: SampleId) -> Image.Image | None:
        item = self._item(sample)
        return None if isinstance(item, _Broken) else as_picture(item[0])

    def is_random(self, samples: int = 8) -> bool:
        """Whether fetching one sample twice gives two inputs. A few are tried: a mirror image needs luck to be seen."""
        with global_draws(self.seed):  # the question must not move what the data set draws later
            for row in range(min(samples, len(self.ids))):
                first, again = self._reader[row], self._reader[row]
                if isinstance(first, _Broken) or isinstance(again, _Broken):
                    continue
                if first[0].shape != again[0].shape or not torch.equal(first[0], again[0]):
                    return True
        return False

    def _item(self, sample: SampleId) -> _Item | _Broken:
        with global_draws(self._seed_of([(sample,)])):
            return self._reader[self._rows[sample]]

    def _seed_of(self, chunks: Sequence[Sequence[SampleId]]) -> int:
        digest = hashlib.blake2b(json.dumps([self.seed, chunks]).encode(), digest_size=7)
        return int.from_bytes(digest.digest(), "big")

    def _read(self, chunks: _Chunks) -> Iterator[list[_Item | _Broken]]:
        if not self._workers:
            return (chunks[number] for number in range(len(chunks)))
        loader: DataLoader[Any] = DataLoader(
            chunks,  # type: ignore[arg-type]
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self._workers,
            generator=torch.Generator(),  # its own, or the loader would draw from the global one
        )
        return iter(loader)

    def _collated(self, ids: Sequence[SampleId], items: Sequence[_Item | _Broken]) -> Iterator[Batch]:
        read: list[tuple[SampleId, Tensor, Targets]] = []
        for sample, item in zip(ids, items, strict=True):
            if isinstance(item, _Broken):
                self.unreadable[sample] = item.reason
            else:
                read.append((sample, *item))
        for _, run in groupby(read, key=lambda entry: entry[1].shape if self._mixed else None):
            kept, inputs, targets = (list(column) for column in zip(*run, strict=True))
            yield Batch(tuple(kept), cast(Tensor, stack(inputs, kept)), stack(targets, kept))


_Item = tuple[Tensor, Targets]


class _Broken(NamedTuple):
    reason: str


class _Reader:
    """Items as tensors; a sample that cannot be read comes out as the reason. Runs in worker processes too."""

    def __init__(self, samples: Samples, *, pairs: bool) -> None:
        self.samples, self.pairs = samples, pairs

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, row: int) -> _Item | _Broken:
        try:
            item = self.samples[row]
        except DataError:
            raise
        except BROKEN as error:
            named = "" if isinstance(error, UnreadableSample) else f"{type(error).__name__}: "
            return _Broken(f"{named}{error}")
        if not self.pairs:
            return _input(item), torch.empty(0)
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(
                f"item {row} of {type(self.samples).__name__} is a {type(item).__name__}; expected (input, target), or "
                "bare inputs together with targets=False"
            )
        return _input(item[0]), _target(item[1])


class _Chunks:
    """The items of each chunk, with draws that do not depend on which process reads it."""

    def __init__(self, reader: _Reader, chunks: Sequence[Sequence[int]], seed: int) -> None:
        self.reader, self.chunks, self.seed = reader, chunks, seed

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, number: int) -> list[_Item | _Broken]:
        with global_draws(self.seed + number):
            return [self.reader[row] for row in self.chunks[number]]


def _as_it_is(items: list[_Item | _Broken]) -> list[_Item | _Broken]:
    return items


def _count(samples: Samples) -> int:
    try:
        return len(samples)
    except TypeError:
        raise DataError(
            f"{type(samples).__name__} has no length; a pool needs a map-style data set, with __len__ and __getitem__"
        ) from None


def _input(value: Any) -> Tensor:
    """Images of Pillow become [channels, height, width] bytes; arrays and tensors stay as they are."""
    if isinstance(value, Image.Image):
        array = np.array(value if value.mode in ("L", "RGB") else eight_bits(value, "RGB"))
        return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1).contiguous()
    if isinstance(value, Tensor | np.ndarray):
        return torch.as_tensor(value)
    raise DataError(f"an input is a {type(value).__name__}; expected a tensor, an array or a Pillow image")


def _target(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_target(part) for part in value)
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            f"a target is a {type(value).__name__}; expected a number, an array, a tensor or a tuple of such"
        ) from None
