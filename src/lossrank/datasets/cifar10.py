"""CIFAR-10 (Krizhevsky, 2009), from the official python batches or from a packed JPEG copy."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossrank.datasets.base import ImageData, check_classes, pixel_statistics, subset
from lossrank.datasets.packed import decode_all, read_packed
from lossrank.errors import DataError, listed
from lossrank.pool import Pool
from lossrank.regular import read_file

__all__ = ["load_cifar10"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
OFFICIAL_MEAN, OFFICIAL_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
COUNTS = {"train": 50_000, "test": 10_000}
TRAIN = {  # md5 of each file of the official archive
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3fb",
}
TEST = {"test_batch": "40351d587109b95175f43aff81a1287e"}
JPEG_75 = {  # sha256 of the one packed copy that results were recorded with
    "train.npz": "57234489759e6081385e3ec70cebeaa1a38e10ba9af56e30f92522e25e753b35",
    "test.npz": "b172d866e7cb36df36738b76b1084fdc5a2a71e9ecdce89df43c90357559f9b9",
}
LAYOUTS = (
    "expected is either cifar-10-batches-py/ with data_batch_1 .. data_batch_5 and test_batch, as unpacked from "
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz, or a packed JPEG copy: train.npz and test.npz with the "
    "arrays jpeg, offsets and labels"
)


def load_cifar10(
    path: Path | None, *, verify: bool = True, train_size: int | None = None, test_size: int | None = None
) -> ImageData:
    """50,000 images to choose from and 10,000 held out; ids `train-00000`, `test-00000` in the official order.

    Args:
        path: the folder, or the one above `cifar-10-batches-py`. Which of the two layouts it is shows itself.
        verify: whether counts, and the checksums of official files, must be right.
        train_size, test_size: take this many images of either side, those whose ids have the smallest hash.

    Raises:
        DataError: nothing at `path`, another layout, or files that are not what they should be.
    """
    whole = _whole(path, verify)
    train, test = subset(whole.train, train_size, "train_size"), subset(whole.test, test_size, "test_size")
    parted = len(train) < len(whole.train) or len(test) < len(whole.test)
    note = (f"a part of it: {len(train)} images to choose from, {len(test)} held out",) if parted else ()
    return dataclasses.replace(whole, train=train, test=test, notes=(*whole.notes, *note))


def _whole(path: Path | None, verify: bool) -> ImageData:
    if path is None:
        raise DataError(f"CIFAR-10 needs to be told where it lies (data: FOLDER); {LAYOUTS}")
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise DataError(f"CIFAR-10 was looked for in {path}, which {found}; {LAYOUTS}")
    for folder in (path, path / "cifar-10-batches-py"):
        if (folder / "data_batch_1").exists():
            return _official(folder, verify)
    if (path / "train.npz").exists():
        return _packed(path, verify)
    names = listed(sorted(entry.name for entry in path.iterdir()), 8) or "nothing"
    raise DataError(f"CIFAR-10 was looked for in {path}, which holds {names}; {LAYOUTS}")


def _official(folder: Path, verify: bool) -> ImageData:
    def read(names: dict[str, str]) -> tuple[Tensor, Tensor]:
        parts = [_read_batch(folder / name, md5 if verify else None) for name, md5 in names.items()]
        images, labels = zip(*parts, strict=True)
        return torch.cat(images), torch.cat(labels)

    train, test = (_pool(split, *read(names), verify) for split, names in (("train", TRAIN), ("test", TEST)))
    note = "CIFAR-10, official images" if verify else "CIFAR-10, checksums not looked at"
    return ImageData(train, test, CLASSES, OFFICIAL_MEAN, OFFICIAL_STD, (note,))


def _read_batch(path: Path, md5: str | None) -> tuple[Tensor, Tensor]:
    """One official file: images [N, 3, 32, 32] and labels [N]."""
    raw = _bytes_of(path)
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if md5 and found != md5:
        raise DataError(
            f"{path} has md5 {found}; the official file has {md5}. It is damaged or another file: unpack the archive "
            "again, or pass dataset_options {verify: false} to read it all the same"
        )
    try:
        content = _ArraysOnly(io.BytesIO(raw), encoding="bytes").load()
        images = torch.from_numpy(np.array(content[b"data"], dtype=np.uint8)).view(-1, 3, 32, 32)
        return images, torch.tensor(content[b"labels"], dtype=torch.long)
    except DataError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{path} is no CIFAR-10 batch: {type(error).__name__}: {error}") from error


class _ArraysOnly(pickle.Unpickler):
    """The official files are pickles. This reads arrays and plain values, and can run nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module.replace("numpy._core", "numpy.core"), name]
        except KeyError:
            raise DataError(
                f"the file wants to load {module}.{name}, which a CIFAR-10 batch has no use for; it was not run"
            ) from None


def _dtype(name: Any, align: Any = False, copy: Any = False) -> Any:
    return np.dtype(name, align=bool(align), copy=bool(copy))  # old files give 0 and 1, which NumPy now warns about


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],  # type: ignore[dict-item]
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
}


def _packed(folder: Path, verify: bool) -> ImageData:
    train, sha_train = _read_packed(folder / "train.npz")
    test, sha_test = _read_packed(folder / "test.npz")
    mean, std = pixel_statistics(train[0])
    known = {"train.npz": sha_train, "test.npz": sha_test} == JPEG_75
    which = "JPEG-75 copy" if known else "JPEG copy of unknown making"
    note = f"CIFAR-10, {which}: accuracies are not comparable to those on the uncompressed images"
    return ImageData(_pool("train", *train, verify), _pool("test", *test, verify), CLASSES, mean, std, (note,))


def _read_packed(path: Path) -> tuple[tuple[Tensor, Tensor], str]:
    """Images [N, 3, 32, 32] and labels [N], and the sha256 of the file."""
    parts = read_packed(path, {"jpeg": "u", "offsets": "ui", "labels": "uif"}, LAYOUTS)
    labels = torch.from_numpy(parts["labels"].astype(np.int64))
    if labels.shape != (len(parts["offsets"]) - 1,):
        raise DataError(f"{path}: {len(parts['offsets'])} offsets and labels {list(labels.shape)} do not fit")
    pixels = torch.from_numpy(decode_all(path, parts, (32, 32))).permute(0, 3, 1, 2).contiguous()
    return (pixels, labels), parts.sha256


def _bytes_of(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise DataError(f"{path.name} cannot be read from {path.parent} ({error.strerror}); {LAYOUTS}") from error


def _pool(split: str, images: Tensor, labels: Tensor, verify: bool) -> Pool:
    if len(images) != len(labels):
        raise DataError(f"CIFAR-10 {split} holds {len(images)} images and {len(labels)} labels")
    ids = [f"{split}-{row:05d}" for row in range(len(images))]
    check_classes(labels, ids, CLASSES)
    counts = labels.bincount(minlength=len(CLASSES)).tolist()
    expected = COUNTS[split] // len(CLASSES)
    if verify and set(counts) != {expected}:
        raise DataError(f"CIFAR-10 {split} holds {counts} images of the ten classes; expected {expected} of each")
    return Pool(images, ids, labels)
