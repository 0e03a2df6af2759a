"""Where samples lie: in memory, or in any map-style data set. Positions are known here and nowhere else."""

from __future__ import annotations

import pickle
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader

from lossrank.errors import DataError, listed
from lossrank.ledger import SampleId

__all__ = [
    "Batch",
    "InMemory",
    "MapStyle",
    "Samples",
    "Source",
    "Targets",
    "UnreadableSample",
    "as_picture",
    "gather",
    "rows_of",
    "stack",
]

# A union would make every task and transform ask which of the two it was given; a task knows what its targets are.
Targets = Any
"""A tensor whose first dimension is the batch, or a tuple of such tensors; [batch, 0] where there are none."""


class UnreadableSample(Exception):  # noqa: N818 - a fact about a sample, caught by the pool
    """A data set raises it for a sample that cannot be read; the pool leaves the sample out and lists it."""


# What broken files make readers raise. Anything else is a mistake in a data set's code and comes through.
BROKEN = (
    UnreadableSample,
    OSError,
    EOFError,
    ValueError,
    SyntaxError,  # Pillow's word for a broken PNG
    UnidentifiedImageError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
    pickle.UnpicklingError,
    struct.error,
    zlib.error,
)


class Batch(NamedTuple):
    """Samples with their ids. `inputs` and `targets` have the batch as first dimension."""

    ids: tuple[SampleId, ...]
    inputs: Tensor
    targets: Targets


class Samples(Protocol):
    """A map-style data set: an item by position. The pool alone knows positions."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class Source(ABC):
    """Samples by id, and why some of them cannot be read.

    Raises:
        DataError: no samples, another number of ids than samples, or ids that repeat or are no strings.
    """

    def __init__(self, ids: Sequence[SampleId], count: int, unreadable: Mapping[SampleId, str] | None) -> None:
        self.ids = tuple(ids)
        self.unreadable: dict[SampleId, str] = dict(unreadable or {})
        """Grows while samples turn out to be unreadable."""
        self._rows = rows_of(self.ids, count)

    def __contains__(self, sample: object) -> bool:
        return sample in self._rows

    @abstractmethod
    def stream(self, chunks: Iterable[Sequence[SampleId]]) -> Iterator[Batch]:
        """One batch for each chunk of ids, in order; ids that cannot be read are left out, even if all are."""

    @abstractmethod
    def targets(self, ids: Sequence[SampleId]) -> Targets:
        """The targets of `ids`, in order."""

    @abstractmethod
    def picture(self, sample: SampleId) -> Image.Image | None:
        """The sample as a picture; None where it is not one."""


class InMemory(Source):
    """Inputs [N, ...] held as one tensor, images as bytes; a batch is one gather.

    Args:
        targets: a tensor [N, ...] or a tuple of such; none for samples without labels.
    """

    def __init__(
        self,
        inputs: Tensor,
        ids: Sequence[SampleId],
        targets: Targets | None = None,
        unreadable: Mapping[SampleId, str] | None = None,
    ) -> None:
        super().__init__(ids, len(inputs), unreadable)
        self._inputs = inputs
        self._targets = torch.empty(len(inputs), 0) if targets is None else targets
        for tensor in self._targets if isinstance(self._targets, tuple) else (self._targets,):
            if len(tensor) != len(inputs):
                raise DataError(f"{len(inputs)} samples came with {len(tensor)} targets")

    def stream(self, chunks: Iterable[Sequence[SampleId]]) -> Iterator[Batch]:
        for chunk in chunks:
            ids = tuple(i for i in chunk if i not in self.unreadable) if self.unreadable else tuple(chunk)
            rows = self._look_up(ids)
            yield Batch(ids, self._inputs.index_select(0, rows), gather(self._targets, rows))

    def targets(self, ids: Sequence[SampleId]) -> Targets:
        return gather(self._targets, self._look_up(ids))

    def picture(self, sample: SampleId) -> Image.Image | None:
        return as_picture(self._inputs[self._rows[sample]])

    def _look_up(self, ids: Sequence[SampleId]) -> Tensor:
        return torch.tensor([self._rows[i] for i in ids], dtype=torch.long)


class MapStyle(Source):
    """Any map-style data set of (input, target) items, or of bare inputs where `targets` says there are none.

    Args:
        targets: True where items are (input, target) pairs; False where an item is an input; or the targets
            themselves, so that they can be looked up without reading the inputs.
        workers: processes that read ahead, as in `torch.utils.data.DataLoader`; 0 reads in this process.
    """

    def __init__(
        self,
        samples: Samples,
        ids: Sequence[SampleId],
        targets: Targets | bool = True,
        *,
        workers: int = 0,
    ) -> None:
        super().__init__(ids, _count(samples), getattr(samples, "unreadable", None))
        self._reader = _Reader(samples, pairs=targets is not False)
        self._known = None if isinstance(targets, bool) else targets
        self._workers = workers
        self._passes = 0

    def stream(self, chunks: Iterable[Sequence[SampleId]]) -> Iterator[Batch]:
        wanted = [tuple(i for i in chunk if i not in self.unreadable) for chunk in chunks]
        for ids, items in zip(wanted, self._read([[self._rows[i] for i in ids] for ids in wanted]), strict=True):
            yield self._collated(ids, items)

    def targets(self, ids: Sequence[SampleId]) -> Targets:
        if self._known is not None:
            return gather(self._known, torch.tensor([self._rows[i] for i in ids], dtype=torch.long))
        items = {i: self._reader[self._rows[i]] for i in ids}
        broken = [f"{i} ({item.reason})" for i, item in items.items() if isinstance(item, _Broken)]
        if broken:
            raise DataError(f"the targets of {len(broken)} samples cannot be read: {listed(broken)}")
        return stack([item[1] for item in items.values()], list(items))  # type: ignore[index]

    def picture(self, sample: SampleId) -> Image.Image | None:
        item = self._reader[self._rows[sample]]
        return None if isinstance(item, _Broken) else as_picture(item[0])

    def is_random(self, samples: int = 8) -> bool:
        """Whether fetching one sample twice gives two inputs. A few are tried: a mirror image needs luck to be seen."""
        with torch.random.fork_rng(devices=[]):  # the question must not move what the data set draws later
            for row in range(min(samples, len(self.ids))):
                first, again = self._reader[row], self._reader[row]
                if isinstance(first, _Broken) or isinstance(again, _Broken):
                    continue
                if first[0].shape != again[0].shape or not torch.equal(first[0], again[0]):
                    return True
        return False

    def _read(self, chunks: list[list[int]]) -> Iterator[list[_Item | _Broken]]:
        if not self._workers:
            return ([self._reader[row] for row in rows] for rows in chunks)
        self._passes += 1
        # Its own generator, or the loader would draw the workers' seed from the global one.
        seeds = torch.Generator().manual_seed(self._passes)
        loader = DataLoader(
            self._reader,  # type: ignore[arg-type]
            batch_sampler=chunks,
            collate_fn=list,
            num_workers=self._workers,
            generator=seeds,
        )
        return iter(loader)

    def _collated(self, ids: Sequence[SampleId], items: Sequence[_Item | _Broken]) -> Batch:
        read = []
        for sample, item in zip(ids, items, strict=True):
            if isinstance(item, _Broken):
                self.unreadable[sample] = item.reason
            else:
                read.append((sample, *item))
        if not read:
            return Batch((), torch.empty(0), torch.empty(0))
        kept, inputs, targets = (list(column) for column in zip(*read, strict=True))
        return Batch(tuple(kept), cast(Tensor, stack(inputs, kept)), stack(targets, kept))


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


def rows_of(ids: Sequence[SampleId], count: int) -> dict[SampleId, int]:
    """Where each id lies among `count` samples; errors as `Source`."""
    if len(ids) != count:
        raise DataError(f"{count} samples came with {len(ids)} ids")
    if not ids:
        raise DataError("the pool is empty: there is nothing to choose from")
    strange = [i for i in ids if not isinstance(i, str) or not i]
    if strange:
        kinds = sorted({type(i).__name__ for i in strange})
        raise DataError(
            f"ids are strings such as file names, and not empty; found {', '.join(kinds)}: {listed(map(repr, strange))}"
        )
    rows = {sample: row for row, sample in enumerate(ids)}
    if len(rows) != len(ids):
        repeated = sorted({i for row, i in enumerate(ids) if rows[i] != row})
        raise DataError(f"{len(repeated)} ids stand for more than one sample: {listed(repeated)}")
    return rows


def gather(targets: Targets, rows: Tensor) -> Targets:
    """The rows of a tensor, or of each tensor of a tuple."""
    if isinstance(targets, tuple):
        return tuple(gather(part, rows) for part in targets)
    return targets.index_select(0, rows)  # 15 times faster than targets[rows]


def stack(values: Sequence[Any], ids: Sequence[SampleId]) -> Targets:
    """Tensors, or tuples of tensors, put together along a new first dimension.

    Raises:
        DataError: their shapes differ; the first two ids that do are named.
    """
    if isinstance(values[0], tuple):
        return tuple(stack(part, ids) for part in zip(*values, strict=True))
    for sample, value in zip(ids, values, strict=True):
        if value.shape != values[0].shape:
            raise DataError(
                f"one batch needs one shape: {ids[0]} is {list(values[0].shape)}, {sample} is {list(value.shape)}"
            )
    return torch.stack(list(values))


def as_picture(image: Tensor) -> Image.Image | None:
    """A [channels, height, width] tensor as a picture; None where it has no such shape.

    Bytes are shown as they are; other numbers are stretched between their smallest and largest. Of other than 1 or 3
    channels the first is shown.
    """
    if image.ndim != 3:
        return None
    pixels = image if image.shape[0] in (1, 3) else image[:1]
    if pixels.dtype != torch.uint8:
        low, high = pixels.min(), pixels.max()
        pixels = ((pixels - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8)
    array = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)


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
        array = np.array(value if value.mode in ("L", "RGB") else value.convert("RGB"))
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
