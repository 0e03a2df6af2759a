"""Packed data sets: arrays in an .npz file, pictures among them as JPEG files one behind the other."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lossrank.decoding import THREADS, UnreadableSample, open_image
from lossrank.errors import DataError, listed
from lossrank.regular import read_file

__all__ = ["Packed", "cut", "decode_all", "read_packed"]

Array = np.ndarray[Any, Any]


class Packed(dict[str, Array]):
    """The arrays of a file by name, and the sha256 of the file."""

    sha256: str = ""


def read_packed(path: Path, kinds: Mapping[str, str], layouts: str, others: str = "") -> Packed:
    """The arrays of an .npz file.

    Args:
        kinds: of each array that is needed, the letters of the NumPy kinds that it may have: `u`, `i`, `f`, `b`, `U`.
        layouts: what is expected, for the message.
        others: the kinds of further arrays that are read.

    Raises:
        DataError: the file cannot be read, is damaged, or lacks an array, or one is of another kind.
    """
    try:
        raw = read_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; {layouts}") from error
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            missing = [name for name in kinds if name not in archive.files]
            found = Packed({name: archive[name] for name in archive.files if name in kinds or others})
    except Exception as error:  # a damaged archive can raise anything
        raise DataError(f"{path} cannot be read: {type(error).__name__}: {error}; {layouts}") from error
    if missing:
        raise DataError(f"{path} cannot be read: it has no {listed(missing)}; {layouts}")
    for name in [name for name, array in found.items() if array.dtype.kind not in kinds.get(name, others)]:
        if name in kinds:
            raise DataError(f"{path}: {name} is of type {found[name].dtype}; {layouts}")
        del found[name]
    found.sha256 = hashlib.sha256(raw).hexdigest()
    return found


def cut(path: Path, parts: Packed) -> list[bytes]:
    """The JPEG files that `offsets` cut out of `jpeg`.

    Raises:
        DataError: the offsets do not cut them.
    """
    jpeg, offsets = parts["jpeg"], parts["offsets"]
    if jpeg.dtype != np.uint8 or jpeg.ndim != 1 or offsets.ndim != 1 or len(offsets) < 2:
        raise DataError(
            f"{path}: jpeg is {jpeg.dtype} {list(jpeg.shape)} and offsets {list(offsets.shape)}; expected are bytes "
            "[bytes] and [pictures + 1]"
        )
    if offsets[0] != 0 or offsets[-1] != len(jpeg) or (np.diff(offsets.astype(np.int64)) < 0).any():
        raise DataError(f"{path}: {len(offsets)} offsets do not cut {len(jpeg)} bytes into {len(offsets) - 1} images")
    whole, ends = jpeg.tobytes(), offsets.tolist()
    return [whole[begin:end] for begin, end in itertools.pairwise(ends)]


def decode_all(path: Path, parts: Packed, size: tuple[int, int] | None = None) -> Array:
    """[pictures, height, width, 3] bytes, decoded by several threads into one array.

    Args:
        size: width and height of each picture; those of the first if not given.

    Raises:
        DataError: a picture is damaged, no JPEG, or of another size.
    """
    files = cut(path, parts)
    width, height = size or _first_size(path, files)
    images = np.empty((len(files), height, width, 3), np.uint8)

    def decode(rows: Sequence[int]) -> None:
        for row in rows:
            images[row] = _decoded(path, row, files[row], (width, height))

    with ThreadPoolExecutor(THREADS) as threads:  # Pillow lets go of the interpreter while it decodes
        list(threads.map(decode, np.array_split(np.arange(len(files)), max(1, len(files) // 512))))
    return images


def _first_size(path: Path, files: Sequence[bytes]) -> tuple[int, int]:
    try:
        with open_image(files[0]) as image:
            return image.size
    except UnreadableSample as error:
        raise DataError(f"image 0 of {path} cannot be read: {error}") from error


def _decoded(path: Path, row: int, raw: bytes, size: tuple[int, int]) -> Array:
    try:
        with Image.open(io.BytesIO(raw), formats=("JPEG",)) as image:
            if image.size != size:
                found = f"{image.width} x {image.height}"
                raise DataError(f"image {row} of {path} is {found} pixels, must be {size[0]} x {size[1]}")
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except DataError:
        raise
    except Exception as error:  # a damaged picture can raise nearly anything
        raise DataError(f"image {row} of {path} cannot be read: {type(error).__name__}: {error}") from error
