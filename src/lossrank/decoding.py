"""Open picture files that people have. One rule for every reader, task and export; nothing here imports torch.

A picture is upright: turned and mirrored as its EXIF data say. Its size is that of the upright picture, and points,
boxes and joints are in its pixels, the first one at 0. Of an animation or a file of several pages the first is taken.
What is transparent becomes white.

Greys of more than 8 bits become bytes by a linear scale, with black at 0 and white at:

- the `white` that is given: `white_of` takes one for all pictures of a data set;
- else the largest grey that the file declares (TIFF `MaxSampleValue`; Pillow scales PGM to 65535 by its header);
- else 65535 of integers and 1 of floats, or the picture's largest value where that is more.

Negative greys are black, and so is what was not measured: NaN, infinities, values beyond 1e30, GDAL's no-data value.
"""

from __future__ import annotations

import io
import math
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lossrank.picture_files import register_heif
from lossrank.regular import open_file

__all__ = ["THREADS", "UnreadableSample", "eight_bits", "open_image", "shrunk_square", "upright_size", "white_of"]

ORIENTATION = 0x0112  # the EXIF tag
TURNS = {  # by orientation, which of 1 needs none
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_SAMPLE_VALUE, GDAL_NODATA = 281, 42113  # tags of TIFF
NO_MEASUREMENT = 1e30  # rasters mark missing values with numbers such as -3.4e38
STRIP = 1 << 20  # pixels that are converted at a time
LARGE = 1 << 24  # pixels from which on pictures are decoded one at a time, whatever the number of threads
DEPTHS = (255, 1023, 4095, 16383, 65535)
NEVER_DEEP = frozenset({".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".webp"})
THREADS = min(os.cpu_count() or 1, 8)
MEASURED = 2000  # pictures of more than 8 bits that `white_of` looks at

_large = threading.Lock()


def _new_lock() -> None:
    global _large
    _large = threading.Lock()


os.register_at_fork(after_in_child=_new_lock)


class UnreadableSample(Exception):  # noqa: N818 - a fact about a sample, caught by the pool
    """A data set raises it for a sample that cannot be read; the pool leaves the sample out and lists it."""


def open_image(path: Path | bytes, mode: str = "RGB", white: float | None = None) -> Image.Image:
    """The whole picture, upright, in mode RGB or L.

    Args:
        path: of the file, or all its bytes.
        white: the grey of more than 8 bits that is white.

    Raises:
        UnreadableSample: it is missing, damaged, no picture, no regular file, or has more pixels than
            `PIL.Image.MAX_IMAGE_PIXELS`. Sizes are checked before anything is decoded.
    """
    with _opened(path) as image, _one_at_a_time(image):
        return _turned(eight_bits(image, mode, white), _orientation(image))


def shrunk_square(path: Path, side: int, mode: str = "RGB", white: float | None = None) -> Image.Image:
    """The middle square of a picture, [side, side]; errors and arguments as of `open_image`."""
    with _opened(path) as image, _one_at_a_time(image):
        image.draft(image.mode, (2 * side, 2 * side))  # of a JPEG, decode no more than is needed
        factor = min(image.size) // (2 * side) if image.width * image.height > 4 * STRIP else 1
        whole = eight_bits(image, mode, white, max(1, factor))
        return _turned(ImageOps.fit(whole, (side, side), Image.Resampling.BILINEAR), _orientation(image))


def upright_size(path: Path | bytes) -> tuple[int, int]:
    """Width and height of what `open_image` gives, without decoding it; errors as there, but for damaged pixels."""
    with _opened(path) as image:
        return image.size[::-1] if _orientation(image) >= 5 else image.size


def white_of(paths: Iterable[Path | bytes]) -> float | None:
    """The white of all these pictures together; None where all of them have 8 bits.

    Of integers it is the largest value of the least depth (8, 10, 12, 14 or 16 bits) that holds every picture's
    largest: 12-bit pictures in 16-bit files keep their greys. Beyond 65535, and of floats beyond 1, it is the largest
    value itself. Of more than 2,000 such pictures, that many evenly spread ones are looked at; what is brighter in the
    others is white.
    """
    with ThreadPoolExecutor(THREADS) as threads:
        paths = list(paths)
        deep = [path for path, is_deep in zip(paths, threads.map(_is_deep, paths), strict=True) if is_deep]
        step = max(1.0, len(deep) / MEASURED)
        ranges = list(threads.map(_range, (deep[int(k * step)] for k in range(min(len(deep), MEASURED)))))
    largest = max((most for most, _ in ranges), default=0.0)
    if largest <= 0:
        return None
    if any(floats for _, floats in ranges):
        return max(1.0, largest)
    return float(next((depth for depth in DEPTHS if largest <= depth), largest))


def _range(path: Path | bytes) -> tuple[float, bool]:
    """A picture's largest value, 0 where it cannot be read, and whether its values are floats."""
    try:
        with _opened(path) as image, _one_at_a_time(image):
            return _largest(image), image.mode == "F"
    except UnreadableSample:
        return 0.0, False


def eight_bits(image: Image.Image, mode: str, white: float | None = None, factor: int = 1) -> Image.Image:
    """A decoded or open image in mode RGB or L, each side divided by `factor` (the mean of so many pixels).

    A strip is converted at a time, so that no more than two images are in memory.

    Raises:
        UnreadableSample: it has more than 8 bits, and no value of it is finite.
    """
    image.load()
    if factor == 1 and image.mode == mode and "transparency" not in image.info:
        return image.copy()
    scale = _Scale(image, white) if _deep_mode(image) else None
    width, height = -(-image.width // factor), -(-image.height // factor)
    result = Image.new(mode, (width, height))
    rows = max(1, STRIP // (image.width * factor)) * factor
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strip = scale(strip).convert(mode) if scale else _flat(strip, mode)
        result.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
    return result


class _Scale:
    """The greys of an image of more than 8 bits as bytes."""

    def __init__(self, image: Image.Image, white: float | None) -> None:
        self.no_data = _no_data(image)
        self.white = white or _declared_white(image) or max(_least_white(image), self._largest(image))

    def _largest(self, image: Image.Image) -> float:
        return _largest(image, self.no_data)

    def __call__(self, strip: Image.Image) -> Image.Image:
        values = _measured(np.asarray(strip, np.float32), self.no_data, 0.0)
        return Image.fromarray((values.clip(0, self.white) * np.float32(255 / self.white)).round().astype(np.uint8))


def _measured(values: np.ndarray[Any, Any], no_data: float | None, instead: float) -> np.ndarray[Any, Any]:
    """The values, with `instead` where nothing was measured."""
    known = np.abs(values) < NO_MEASUREMENT  # false of NaN
    if no_data is not None:
        known &= values != np.float32(no_data)
    return np.where(known, values, np.float32(instead))


def _largest(image: Image.Image, no_data: float | None = None) -> float:
    """The largest value that was measured.

    Raises:
        UnreadableSample: there is none.
    """
    image.load()
    no_data = _no_data(image) if no_data is None else no_data
    largest, rows = -math.inf, max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        largest = max(largest, float(_measured(np.asarray(strip, np.float32), no_data, -math.inf).max()))
    if largest == -math.inf:
        raise UnreadableSample("no pixel of it has a finite value")
    return largest


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """An image of up to 8 bits without transparency, in mode RGB or L."""
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    return image.convert(mode)


def _deep_mode(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))


def _is_deep(path: Path | bytes) -> bool:
    if isinstance(path, Path) and path.suffix.lower() in NEVER_DEEP:
        return False
    try:
        with _opened(path) as image:
            return _deep_mode(image)
    except UnreadableSample:
        return False


def _least_white(image: Image.Image) -> float:
    return 1.0 if image.mode == "F" else 65535.0


def _declared_white(image: Image.Image) -> float | None:
    """The largest grey that the file says it can hold; None where it says nothing."""
    tags = getattr(image, "tag_v2", None) or {}
    try:
        declared = tags.get(MAX_SAMPLE_VALUE)
        declared = declared[0] if isinstance(declared, tuple) else declared
        return float(declared) if declared and 0 < float(declared) < NO_MEASUREMENT else None
    except (TypeError, ValueError, OverflowError):
        return None


def _no_data(image: Image.Image) -> float | None:
    tags = getattr(image, "tag_v2", None) or {}
    try:
        return float(str(tags.get(GDAL_NODATA)).strip("\0 "))
    except ValueError:
        return None


@contextmanager
def _opened(path: Path | bytes) -> Iterator[Image.Image]:
    """The picture, its size checked; whatever goes wrong with it inside is an `UnreadableSample`."""
    try:
        register_heif(path)
        with io.BytesIO(path) if isinstance(path, bytes) else open_file(path) as file, Image.open(file) as image:
            limit = Image.MAX_IMAGE_PIXELS or math.inf
            if image.width * image.height > limit:
                raise UnreadableSample(f"{image.width} x {image.height} pixels are more than the limit of {limit}")
            yield image
    except UnreadableSample:
        raise
    except FileNotFoundError:
        assert isinstance(path, Path)
        raise UnreadableSample(f"there is no file {path.name} in {path.parent.name}") from None
    except UnidentifiedImageError:
        raise UnreadableSample("not a picture, or its beginning is damaged") from None
    except Exception as error:  # readers of damaged files raise nearly anything
        reason = str(error) or "no reason given"
        if isinstance(path, Path):
            reason = reason.replace(f"{path.parent}/", "")
        raise UnreadableSample(f"{type(error).__name__}: {reason}") from error


def _one_at_a_time(image: Image.Image) -> AbstractContextManager[Any]:
    return _large if image.width * image.height > LARGE else nullcontext()


def _orientation(image: Image.Image) -> int:
    """1 to 8 as in EXIF. Pillow turns TIFF itself."""
    try:
        orientation = 1 if image.format == "TIFF" else int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # the pixels are whole even where the words about them are not
        return 1
    return orientation if orientation in TURNS else 1


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image
