"""A person's own pictures: class folders of labelled ones, a folder of unlabelled ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lossrank.datasets.base import ImageData, held_out, pixel_statistics
from lossrank.datasets.images import read_image
from lossrank.decoding import THREADS, white_of
from lossrank.errors import ConfigError, DataError, listed
from lossrank.ledger import SampleId
from lossrank.picture_files import SUFFIXES, images_below, not_utf8
from lossrank.pool import Pool
from lossrank.requirements import require_count
from lossrank.sources import Batch, InMemory, Source, Targets, UnreadableSample, as_picture, gather

__all__ = ["files_pool", "images_below", "load_folder", "load_unlabelled"]

IN_MEMORY = 2 << 30  # bytes of pixels up to which a folder is decoded once and kept
SPLITS = (("train", "test"), ("train", "val"), ("train", "valid"))


def load_folder(
    path: Path | None,
    *,
    test: Path | str | None = None,
    test_fraction: float = 0.2,
    image_size: int = 64,
    channels: int = 3,
    max_memory: int = IN_MEMORY,
) -> ImageData:
    """Images in class folders, `path/CLASS/NAME.jpg`, at any depth below CLASS. Ids are `CLASS/NAME.jpg`.

    Held out is what lies in `test`; or, where `path` holds just `train` and `test` (`val`, `valid`), the latter; or
    else `test_fraction` of each class, decided by a hash of each id: adding pictures moves none to the other side.
    Images that cannot be read are left out and listed in the pools' `unreadable`.

    Args:
        test: another folder of the same class folders.
        image_size: side in pixels of the square that is cut from the middle and scaled.
        channels: 3 for colour, 1 for grey.
        max_memory: bytes up to which the pixels of a folder are decoded once and kept; beyond, they are read from
            disk for each batch.

    Raises:
        DataError: no such folder, no images in class folders, or test images of other classes.
    """
    root = _existing(path)
    split = None if test else next((s for s in SPLITS if _subfolders(root) == sorted(s)), None)
    folders = (root, _existing(Path(test))) if test else tuple(root / name for name in split or ())
    if folders:
        train_files, test_files = (_labelled(folder) for folder in folders)
    else:
        train_files, test_files = _labelled(root), {}
    classes = sorted({_class_of(sample) for sample in train_files})
    _check_splits(classes, train_files, test_files, root)
    if not folders:
        chosen = held_out({i: classes.index(_class_of(i)) for i in train_files}, test_fraction)
        test_files = {i: train_files.pop(i) for i in chosen}

    white = white_of([*train_files.values(), *test_files.values()])

    def pool(files: Mapping[SampleId, Path]) -> Pool:
        targets = torch.tensor([classes.index(_class_of(i)) for i in sorted(files)])
        return files_pool(files, targets, image_size, channels, max_memory, white)

    train, held = pool(train_files), pool(test_files)
    return ImageData(train, held, tuple(classes), *_statistics(train), _notes(root, bool(folders), test_fraction))


def load_unlabelled(
    path: Path,
    *,
    image_size: int = 64,
    channels: int = 3,
    max_memory: int = IN_MEMORY,
    white: float | None = None,
) -> Pool:
    """Every image below `path`, without targets; ids are the paths below it. Otherwise as `load_folder`.

    Args:
        white: the grey of more than 8 bits that is white; that of these images together if not given.
    """
    files = images_below(_existing(path))
    if not files:
        raise DataError(f"{path} holds no images ({listed(sorted(SUFFIXES), 30)})")
    return files_pool(files, None, image_size, channels, max_memory, white or white_of(files.values()))


class _Files(Source):
    """Images that are read for each batch, the next batch ahead of its time."""

    def __init__(
        self,
        files: Mapping[SampleId, Path],
        targets: Tensor | None,
        image_size: int,
        channels: int,
        white: float | None,
    ) -> None:
        super().__init__(sorted(files), len(files), not_utf8(files))
        self._files, self._image_size, self._channels, self._white = files, image_size, channels, white
        self._targets = torch.empty(len(files), 0) if targets is None else targets

    def stream(self, chunks: Iterable[Sequence[SampleId]]) -> Iterator[Batch]:
        with ThreadPoolExecutor(THREADS) as threads:
            ahead: list[list[tuple[SampleId, Future[Tensor]]]] = []
            for chunk in chunks:
                readable = (i for i in chunk if i not in self.unreadable)
                ahead.append([(i, threads.submit(self.read, i)) for i in readable])
                if len(ahead) == 2:
                    yield self._batch(ahead.pop(0))
            for reads in ahead:
                yield self._batch(reads)

    def read(self, sample: SampleId) -> Tensor:
        return read_image(self._files[sample], self._image_size, self._channels, self._white)

    def targets(self, ids: Sequence[SampleId]) -> Targets:
        return gather(self._targets, torch.tensor([self._rows[i] for i in ids], dtype=torch.long))

    def picture(self, sample: SampleId) -> Image.Image | None:
        return as_picture(self.read(sample))

    def _batch(self, reads: Sequence[tuple[SampleId, Future[Tensor]]]) -> Batch:
        images: dict[SampleId, Tensor] = {}
        for sample, read in reads:
            try:
                images[sample] = read.result()
            except UnreadableSample as why:
                self.unreadable[sample] = str(why)
        inputs = torch.stack(list(images.values())) if images else torch.empty(0)
        return Batch(tuple(images), inputs, self.targets(tuple(images)))


def files_pool(
    files: Mapping[SampleId, Path],
    targets: Tensor | None,
    image_size: int,
    channels: int,
    max_memory: int,
    white: float | None = None,
) -> Pool:
    """The images of files by id, in the order of the ids, which is that of the targets. Options as of `load_folder`.

    Args:
        white: the grey of more than 8 bits that is white, one for all pools of a data set: `decoding.white_of`.
    """
    if channels not in (1, 3):
        raise ConfigError(f"channels must be 1 or 3, got {channels}")
    require_count("image_size", image_size)
    source = _Files(files, targets, image_size, channels, white)
    if len(files) * channels * image_size**2 > max_memory:
        return Pool(source)
    pixels = torch.zeros(len(files), channels, image_size, image_size, dtype=torch.uint8)

    def read(place: int) -> None:
        sample = source.ids[place]
        if sample in source.unreadable:
            return
        try:
            pixels[place] = source.read(sample)
        except UnreadableSample as why:
            source.unreadable[sample] = str(why)

    with ThreadPoolExecutor(THREADS) as threads:  # Pillow lets go of the interpreter while it decodes
        list(threads.map(read, range(len(files))))
    if len(source.unreadable) == len(files):
        reasons = (f"{i} ({why})" for i, why in source.unreadable.items())
        raise DataError(f"none of the {len(files)} images can be read: {listed(reasons, 3)}")
    return Pool(InMemory(pixels, source.ids, targets, source.unreadable))


def _labelled(folder: Path) -> dict[SampleId, Path]:
    """Images in class folders; those beside the class folders have no class."""
    files = {i: file for i, file in images_below(folder).items() if "/" in i}
    if not files:
        raise DataError(
            f"{folder} holds no images in class folders; expected is CLASS/NAME.jpg below it, where NAME ends in one "
            f"of {listed(sorted(SUFFIXES), 30)}"
        )
    return files


def _class_of(sample: SampleId) -> str:
    return sample.partition("/")[0]


def _subfolders(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _existing(path: Path | None) -> Path:
    if path is None:
        raise DataError("the folder needs to be told (data: FOLDER); expected are images in it as CLASS/NAME.jpg")
    if not path.is_dir():
        raise DataError(f"there is no folder {path}" + (": it is a file" if path.exists() else ""))
    return path


def _check_splits(
    classes: Sequence[str], train: Mapping[SampleId, Path], test: Mapping[SampleId, Path], root: Path
) -> None:
    if len(classes) < 2:
        raise DataError(
            f"{root} holds {len(train)} images of one class, {classes[0]!r}; two or more class folders are needed"
        )
    foreign = sorted({_class_of(i) for i in test} - set(classes))
    if foreign:
        raise DataError(
            f"the test images have classes without training images: {listed(foreign)}; known are {listed(classes, 20)}"
        )


def _statistics(pool: Pool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of all images in memory, or of the first 2,000 where each has to be read."""
    return pixel_statistics(torch.cat([batch.inputs for batch in pool.batches(pool.ids[:2000], 500)]))


def _notes(root: Path, given: bool, fraction: float) -> tuple[str, ...]:
    how = "test images in a folder of their own" if given else f"{fraction:.0%} held out by a hash of the id"
    return (f"images of {root.name}, {how}",)
