"""A person's own pictures: class folders of labelled ones, a folder of unlabelled ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lossrank.datasets.base import ImageData, pixel_statistics
from lossrank.errors import DataError, listed
from lossrank.pool import Pool, UnreadableSample

__all__ = ["FolderSamples", "load_folder", "load_unlabelled", "read_image"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
IN_MEMORY = 2 << 30  # bytes of pixels up to which a folder is decoded once and kept


def load_folder(
    path: Path | None,
    *,
    image_size: int = 64,
    channels: int = 3,
    test_fraction: float = 0.2,
    max_memory: int = IN_MEMORY,
) -> ImageData:
    """Images in class folders, `path/CLASS/NAME.jpg`; ids are `CLASS/NAME.jpg`.

    With `path/train` and `path/test` those are the split; otherwise a fifth is held out, decided by a hash of each
    id, so that adding pictures moves none from one side to the other.

    Raises:
        DataError: no such folder, no class folders, or no images in them.
    """
    if path is None or not path.is_dir():
        raise DataError(f"there is no folder {path}: give one with --data; expected CLASS/NAME.jpg in it")
    given = (path / "train").is_dir() and (path / "test").is_dir()
    roots = [path / "train", path / "test"] if given else [path]
    classes = sorted({folder.name for root in roots for folder in root.iterdir() if folder.is_dir()})
    found = [(root, name) for root in roots for name in _images(root) if name.partition("/")[0] in classes]
    if not found or not classes:
        raise DataError(
            f"{path} holds no images in class folders; expected CLASS/NAME.jpg ({listed(sorted(SUFFIXES), 9)})"
        )
    kept: tuple[list[tuple[Path, str]], list[tuple[Path, str]]] = ([], [])
    for root, name in found:
        kept[root.name == "test" if given else _held_out(name, test_fraction)].append((root, name))
    train, test = (_pool(part, classes, image_size, channels, max_memory) for part in kept)
    mean, std = _statistics(train)
    return ImageData(train, test, classes, mean, std)


def load_unlabelled(path: Path, *, image_size: int = 64, channels: int = 3, max_memory: int = IN_MEMORY) -> Pool:
    """Every image below `path`; ids are the paths below it."""
    if not path.is_dir():
        raise DataError(f"there is no folder {path}; expected images in it")
    found = [(path, name) for name in _images(path)]
    if not found:
        raise DataError(f"{path} holds no images ({listed(sorted(SUFFIXES), 9)})")
    return _pool(found, None, image_size, channels, max_memory)


def read_image(path: Path, image_size: int, channels: int = 3) -> Tensor:
    """[channels, image_size, image_size] uint8: upright as its EXIF data say, scaled, its middle cut out.

    Any mode is turned to RGB or grey; 16-bit greys are scaled to their own range of 65,535.

    Raises:
        UnreadableSample: the file is damaged, no image, or larger than Pillow's limit on pixels.
    """
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image, np.float64) / 257).clip(0, 255).astype(np.uint8))
            image = ImageOps.fit(image.convert("RGB" if channels == 3 else "L"), (image_size, image_size))
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise UnreadableSample(f"{type(error).__name__}: {error}".replace(f"{path.parent}/", "")) from None
    pixels = np.array(image)
    return torch.from_numpy(pixels if channels == 3 else pixels[:, :, None]).permute(2, 0, 1)


class FolderSamples:
    """Image files as a map-style data set; what is given is (uint8 image, class index or -1)."""

    def __init__(
        self, files: Sequence[tuple[Path, str]], classes: Sequence[str] | None, image_size: int, channels: int
    ) -> None:
        self.files, self.image_size, self.channels = files, image_size, channels
        self.ids = [name for _, name in files]
        self.targets = [-1 if classes is None else classes.index(name.partition("/")[0]) for name in self.ids]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        root, name = self.files[index]
        return read_image(root / name, self.image_size, self.channels), self.targets[index]


def _pool(
    files: Sequence[tuple[Path, str]],
    classes: Sequence[str] | None,
    image_size: int,
    channels: int,
    max_memory: int,
) -> Pool:
    samples = FolderSamples(files, classes, image_size, channels)
    if len(samples) * channels * image_size**2 > max_memory:
        return Pool(samples)
    unreadable: dict[str, str] = {}

    def read(index: int) -> Tensor:
        try:
            return samples[index][0]
        except UnreadableSample as why:
            unreadable[samples.ids[index]] = str(why)
            return torch.zeros(channels, image_size, image_size, dtype=torch.uint8)

    with ThreadPoolExecutor() as threads:
        images = list(threads.map(read, range(len(samples))))
    if len(unreadable) == len(samples):
        raise DataError(f"none of {len(samples)} images can be read: {listed(unreadable.values(), 3)}")
    pool = Pool(torch.stack(images), samples.ids, torch.tensor(samples.targets)) if images else Pool(samples)
    pool.unreadable.update(unreadable)
    return pool


def _images(root: Path) -> list[str]:
    return sorted(
        file.relative_to(root).as_posix()
        for file in root.rglob("*")
        if file.suffix.lower() in SUFFIXES and file.is_file()
    )


def _held_out(name: str, fraction: float) -> bool:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 < fraction


def _statistics(pool: Pool) -> tuple[list[float], list[float]]:
    some: Any = [batch.inputs for batch in pool.batches(pool.ids[:2000], 500)]
    return pixel_statistics(torch.cat(some))
