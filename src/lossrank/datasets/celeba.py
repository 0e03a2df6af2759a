"""Faces with a binary attribute: CelebA (Liu et al., 2015) in its official layout, or packed JPEG faces."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lossrank.datasets.base import ImageData, check_classes, pixel_statistics, subset
from lossrank.datasets.packed import decode_all, read_packed
from lossrank.decoding import THREADS, open_image
from lossrank.errors import ConfigError, DataError, listed, unknown_name
from lossrank.pool import Pool, UnreadableSample
from lossrank.sources import InMemory
from lossrank.strict_json import read_text

__all__ = ["load_celeba"]

COUNTS = {0: 162_770, 1: 19_867, 2: 19_962}  # train, validation, test
LAYOUTS = (
    "expected is either img_align_celeba/000001.jpg .. 202599.jpg beside list_attr_celeba.txt and "
    "list_eval_partition.txt, as unpacked from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, or packed faces: "
    "train.npz and test.npz with the arrays jpeg, offsets and one of 0 and 1 named as the attribute"
)


def load_celeba(
    path: Path | None,
    *,
    attribute: str | None = None,
    image_size: int = 64,
    verify: bool = True,
    train_size: int | None = None,
    test_size: int | None = None,
) -> ImageData:
    """Faces to choose from and held out; the validation part is left out, as in the paper. Ids are file names.

    Official pictures, 178 x 218, are scaled to a square whole, not cropped: the paper says no more than 64 x 64.

    Args:
        path: the folder. Which of the two layouts it is shows itself.
        attribute: what is told apart; `Male` of the official 40 if not given, `gender` of packed faces.
        image_size: side in pixels; packed faces have their own.
        verify: whether counts must be those of the official partition.
        train_size, test_size: take this many of either side, those whose ids have the smallest hash.

    Raises:
        DataError: nothing at `path`, another layout, a malformed line (with its number), or pictures are missing.
        ConfigError: no such attribute (the nearest is named), or a size that is not to be had.
    """
    if path is None or not path.is_dir():
        raise DataError(f"CelebA was looked for in {path}, which is no folder (data: FOLDER); {LAYOUTS}")
    if (path / "list_attr_celeba.txt").exists():
        data = _official(path, attribute or "Male", image_size, verify, train_size, test_size)
    elif (path / "train.npz").exists():
        train, test = (_packed(path / f"{side}.npz", attribute or "gender") for side in ("train", "test"))
        train, test = subset(train, train_size, "train_size"), subset(test, test_size, "test_size")
        data = _data(train, test, attribute or "gender", "packed faces: a split of their own, not CelebA's")
    else:
        names = listed(sorted(entry.name for entry in path.iterdir()), 8) or "nothing"
        raise DataError(f"CelebA was looked for in {path}, which holds {names}; {LAYOUTS}")
    return data


def _official(
    folder: Path, attribute: str, side: int, verify: bool, train_size: int | None, test_size: int | None
) -> ImageData:
    if side < 1:
        raise ConfigError(f"image_size must be an integer >= 1, got {side!r}")
    labels, parts = _attributes(folder / "list_attr_celeba.txt", attribute), _partition(folder)
    found = {part: sum(p == part for p in parts.values()) for part in COUNTS}
    if verify and found != COUNTS:
        raise DataError(f"the partition holds {list(found.values())} files; the official one {list(COUNTS.values())}")
    unlabelled = [name for name in parts if name not in labels]
    missing = [name for name in parts if not os.path.isfile(folder / "img_align_celeba" / name)]
    if unlabelled or (verify and missing):
        raise DataError(
            f"{len(unlabelled)} files of the partition have no attributes: {listed(unlabelled)}; "
            f"{len(missing)} pictures are missing: {listed(missing)}; {LAYOUTS}"
        )
    train, test = (
        _chosen(folder, [n for n, p in parts.items() if p == part], labels, side, count, option)
        for part, count, option in ((0, train_size, "train_size"), (2, test_size, "test_size"))
    )
    return _data(train, test, attribute, "CelebA, aligned; scaled whole to a square")


def _chosen(
    folder: Path, names: Sequence[str], labels: dict[str, int], side: int, count: int | None, option: str
) -> Pool:
    """The pictures of these files, as many as are asked for, read into memory."""
    every = Pool(torch.zeros(len(names), 0), names)
    ids = subset(every, count, option).ids
    images, unreadable = torch.zeros(len(ids), 3, side, side, dtype=torch.uint8), dict[str, str]()

    def read(row: int) -> None:
        try:
            with open_image(folder / "img_align_celeba" / ids[row]) as image:
                scaled = image.resize((side, side), Image.Resampling.BILINEAR)
            images[row] = torch.from_numpy(np.array(scaled)).permute(2, 0, 1)
        except UnreadableSample as why:
            unreadable[ids[row]] = str(why)

    with ThreadPoolExecutor(THREADS) as threads:  # Pillow lets go of the interpreter while it decodes
        list(threads.map(read, range(len(ids))))
    if len(unreadable) == len(ids):
        raise DataError(f"none of the {len(ids)} pictures can be read: {listed(unreadable.values(), 3)}")
    return Pool(InMemory(images, ids, torch.tensor([labels[i] for i in ids]), unreadable))


def _attributes(path: Path, attribute: str) -> dict[str, int]:
    """0 or 1 by file name. The file: a count, the names of the attributes, then a line of -1 and 1 for each picture."""
    lines = _lines(path)
    names = lines[1][1].split() if len(lines) > 1 else []
    if attribute not in names:
        raise ConfigError(unknown_name("attribute", attribute, names))
    if names.count(attribute) > 1:
        raise DataError(f"{path} has the attribute {attribute} {names.count(attribute)} times; each must be there once")
    column, labels = 1 + names.index(attribute), dict[str, int]()
    for number, line in lines[2:]:
        values = line.split()
        if len(values) != len(names) + 1 or values[column] not in ("-1", "1"):
            raise DataError(f"{path} line {number} is {line[:60]!r}; expected a file and {len(names)} of -1 and 1")
        _once(path, number, values[0], labels)
        labels[values[0]] = int(values[column] == "1")
    if lines[0][1].strip() != str(len(lines) - 2):
        raise DataError(f"{path} says {lines[0][1].strip()[:40]!r} pictures and holds {len(lines) - 2}: is it whole?")
    return labels


def _partition(folder: Path) -> dict[str, int]:
    path = folder / "list_eval_partition.txt"
    parts = dict[str, int]()
    for number, line in _lines(path):
        values = line.split()
        if len(values) != 2 or values[1] not in ("0", "1", "2"):
            raise DataError(f"{path} line {number} is {line[:60]!r}; expected a file and 0, 1 or 2")
        _once(path, number, values[0], parts)
        parts[values[0]] = int(values[1])
    return parts


def _once(path: Path, number: int, name: str, known: dict[str, int]) -> None:
    if name in known:
        raise DataError(f"{path} line {number}: {name} is there twice; each picture must have one line")


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that hold something, with their numbers."""
    lines = enumerate(read_text(path).replace("\r\n", "\n").split("\n"), 1)
    return [(number, line) for number, line in lines if line.strip()]


def _packed(path: Path, attribute: str) -> Pool:
    kinds = {"jpeg": "u", "offsets": "ui"}
    parts = read_packed(path, kinds, LAYOUTS, others="uib")
    if attribute not in parts or attribute in kinds:
        raise ConfigError(unknown_name("attribute", attribute, parts.keys() - kinds.keys()))
    pixels = torch.from_numpy(decode_all(path, parts)).permute(0, 3, 1, 2).contiguous()
    ids = [f"{path.stem}-{row:05d}" for row in range(len(pixels))]
    targets = torch.from_numpy(parts[attribute].astype(np.int64))
    if targets.shape != (len(ids),):
        raise DataError(f"{path} holds {len(ids)} faces and {list(targets.shape)} of {attribute}")
    check_classes(targets, ids, ("0", "1"))
    return Pool(pixels, ids, targets)


def _data(train: Pool, test: Pool, attribute: str, note: str) -> ImageData:
    few: Tensor = next(train.batches(train.ids[:5000], 5000)).inputs
    return ImageData(train, test, (f"not_{attribute}", attribute), *pixel_statistics(few), (note,))
