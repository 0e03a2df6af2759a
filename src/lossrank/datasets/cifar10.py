"""CIFAR-10 (Krizhevsky, 2009), from the official python batches or from a packed JPEG copy."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lossrank.datasets.base import ImageData, pixel_statistics
from lossrank.errors import DataError
from lossrank.pool import Pool

__all__ = ["load_cifar10"]

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
OFFICIAL_MEAN, OFFICIAL_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
BATCHES = {  # md5 of each file of the official archive
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3fb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
LAYOUTS = (
    "expected either cifar-10-batches-py/ with data_batch_1 to data_batch_5 and test_batch, as unpacked from "
    "cifar-10-python.tar.gz (www.cs.toronto.edu/~kriz/cifar.html), or a packed copy: train.npz and test.npz "
    "with members jpeg, offsets, labels"
)


def load_cifar10(path: Path | None, *, verify: bool = True) -> ImageData:
    """50,000 images to choose from and 10,000 held out; ids `train-00000` and `test-00000` in the official order.

    Args:
        path: the folder; both layouts are recognised.
        verify: whether the official files' checksums must match.

    Raises:
        DataError: nothing at `path`, another layout, or files that are not what they should be.
    """
    if path is None or not path.exists():
        raise DataError(f"CIFAR-10 is not at {path}: give its folder with --data; {LAYOUTS}")
    for folder in (path, path / "cifar-10-batches-py"):
        if (folder / "data_batch_1").exists():
            return _official(folder, verify)
    if (path / "train.npz").exists():
        return _packed(path)
    found = sorted(entry.name for entry in path.iterdir())[:8] if path.is_dir() else ["a file"]
    raise DataError(f"{path} holds {', '.join(found) or 'nothing'}; {LAYOUTS}")


def _official(folder: Path, verify: bool) -> ImageData:
    parts = {name: _read_batch(folder / name, md5 if verify else None) for name, md5 in BATCHES.items()}
    test_images, test_targets = parts.pop("test_batch")
    images, targets = (torch.cat(tensors) for tensors in zip(*parts.values(), strict=True))
    return ImageData(
        _pool("train", images, targets, 50_000),
        _pool("test", test_images, test_targets, 10_000),
        CLASSES,
        OFFICIAL_MEAN,
        OFFICIAL_STD,
    )


def _read_batch(path: Path, md5: str | None) -> tuple[Tensor, Tensor]:
    if not path.exists():
        raise DataError(f"{path.name} is missing from {path.parent}; {LAYOUTS}")
    raw = path.read_bytes()
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if md5 and found != md5:
        raise DataError(
            f"{path} has md5 {found}, the official file {md5}: it is damaged or another file. Download it again, "
            "or pass dataset_options {verify: false}"
        )
    content = _ArraysOnly(io.BytesIO(raw), encoding="bytes").load()
    images = torch.from_numpy(np.array(content[b"data"])).view(-1, 3, 32, 32)
    return images, torch.tensor(content[b"labels"])


class _ArraysOnly(pickle.Unpickler):
    """The official files are pickles. This reads arrays and plain values, and runs nothing."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {"_reconstruct", "ndarray", "dtype", "scalar"}
        if module.split(".")[0] == "numpy" and name in allowed:
            return super().find_class(module, name)
        raise DataError(f"the file wants to load {module}.{name}; a CIFAR-10 batch holds arrays alone")


def _packed(folder: Path) -> ImageData:
    images, targets = _read_packed(folder / "train.npz")
    test_images, test_targets = _read_packed(folder / "test.npz")
    mean, std = pixel_statistics(images)
    return ImageData(
        _pool("train", images, targets, 50_000),
        _pool("test", test_images, test_targets, 10_000),
        CLASSES,
        mean,
        std,
        ["CIFAR-10, JPEG copy: accuracies are not comparable to those on the uncompressed images"],
    )


def _read_packed(path: Path) -> tuple[Tensor, Tensor]:
    if not path.exists():
        raise DataError(f"{path.name} is missing from {path.parent}; {LAYOUTS}")
    with np.load(path, allow_pickle=False) as archive:
        jpeg, offsets, labels = archive["jpeg"], archive["offsets"], archive["labels"]

    def decode(row: int) -> np.ndarray[Any, Any]:
        with Image.open(io.BytesIO(jpeg[offsets[row] : offsets[row + 1]].tobytes())) as image:
            return np.asarray(image.convert("RGB"))

    with ThreadPoolExecutor() as threads:
        pixels = np.stack(list(threads.map(decode, range(len(labels)), chunksize=512)))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels).long()


def _pool(split: str, images: Tensor, targets: Tensor, expected: int) -> Pool:
    if len(images) != expected or tuple(images.shape[1:]) != (3, 32, 32):
        raise DataError(f"CIFAR-10 {split} holds {list(images.shape)}; expected [{expected}, 3, 32, 32]")
    ids: Sequence[str] = [f"{split}-{row:05d}" for row in range(expected)]
    return Pool(images, ids, targets)
