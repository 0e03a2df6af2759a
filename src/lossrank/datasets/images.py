"""One image file to bytes of one size, whatever a person's folder holds."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lossrank.picture_files import SUFFIXES
from lossrank.regular import open_file
from lossrank.sources import UnreadableSample

__all__ = ["SUFFIXES", "eight_bits", "open_image", "read_image", "upright", "upright_size"]

ORIENTATION = 0x0112  # the EXIF tag


def read_image(path: Path, image_size: int, channels: int = 3) -> Tensor:
    """[channels, image_size, image_size] uint8: upright as its EXIF data say, its middle square, scaled.

    Any mode becomes RGB or grey: palettes and CMYK are converted, what is transparent becomes white, of an animation
    the first frame is taken, and 16-bit greys are scaled from 0..65535.

    Raises:
        UnreadableSample: the file is damaged, no image, or has more pixels than `PIL.Image.MAX_IMAGE_PIXELS` allows.
    """
    try:
        with open_file(path) as file, Image.open(file) as image:
            image.draft(image.mode, (2 * image_size, 2 * image_size))  # of a JPEG, decode no more than is needed
            whole = upright(image)
            pixels = ImageOps.fit(
                eight_bits(whole, "RGB" if channels == 3 else "L"),
                (image_size, image_size),
                Image.Resampling.BILINEAR,
            )
    except Exception as error:  # readers of damaged files raise nearly anything
        reason = str(error).replace(f"{path.parent}/", "") or "no reason given"
        raise UnreadableSample(f"{type(error).__name__}: {reason}") from error
    array = np.array(pixels)
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1).contiguous()


def open_image(path: Path | bytes, mode: str = "RGB") -> Image.Image:
    """The whole picture, upright as its EXIF data say, in mode RGB or L; for what needs more than the middle square.

    Args:
        path: of the file, or all its bytes.

    Raises:
        UnreadableSample: it is missing, damaged, no image, or has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    with _opened(path) as image:
        return eight_bits(upright(image), mode)


def upright_size(path: Path | bytes) -> tuple[int, int]:
    """Width and height of what `open_image` gives, without decoding it; errors as there, but for damaged pixels."""
    with _opened(path) as image:
        lies = _orientation(image) in range(5, 9)
        return image.size[::-1] if lies else image.size


@contextmanager
def _opened(path: Path | bytes) -> Iterator[Image.Image]:
    """The image file; whatever goes wrong with it inside is an `UnreadableSample`."""
    try:
        with io.BytesIO(path) if isinstance(path, bytes) else open_file(path) as file, Image.open(file) as image:
            limit = Image.MAX_IMAGE_PIXELS or math.inf
            if image.width * image.height > limit:
                raise UnreadableSample(f"{image.width} x {image.height} pixels are more than the limit of {limit}")
            yield image
    except UnreadableSample:
        raise
    except Exception as error:  # readers of damaged files raise nearly anything
        if isinstance(path, bytes):
            raise UnreadableSample(f"{type(error).__name__}: {error}") from error
        if isinstance(error, FileNotFoundError):
            raise UnreadableSample(f"there is no file {path.name} in {path.parent.name}") from None
        raise UnreadableSample(f"{type(error).__name__}: {error}".replace(f"{path.parent}/", "")) from error


def upright(image: Image.Image) -> Image.Image:
    """The image turned and mirrored as its EXIF data say; it is loaded."""
    image.load()
    return ImageOps.exif_transpose(image) if _orientation(image) in range(2, 9) else image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # the pixels are whole even where the words about them are not
        return 1


def eight_bits(image: Image.Image, mode: str) -> Image.Image:
    """The image in mode RGB or L."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_stretched(np.asarray(image, np.float64))).convert(mode)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    return image.convert(mode)


def _stretched(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Greys of more than 8 bits as bytes: up to 1, 255 or 65535, whichever holds the largest; beyond, it is white."""
    largest = float(values.max())
    white = next((limit for limit in (1.0, 255.0, 65535.0) if largest <= limit), largest)
    return (values.clip(min=0) * (255 / white)).round().astype(np.uint8)
