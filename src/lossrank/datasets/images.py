"""One picture file to bytes of one size, as a tensor. `lossrank.decoding` says how pictures are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lossrank.decoding import eight_bits, open_image, shrunk_square, upright_size, white_of
from lossrank.picture_files import SUFFIXES

__all__ = ["SUFFIXES", "eight_bits", "open_image", "read_image", "upright_size", "white_of"]


def read_image(path: Path, image_size: int, channels: int = 3, white: float | None = None) -> Tensor:
    """[channels, image_size, image_size] uint8: upright, the middle square, scaled.

    Any mode becomes RGB or grey; greys of more than 8 bits as `lossrank.decoding` says.

    Args:
        white: the grey of more than 8 bits that is white; `white_of` takes one for a whole folder.

    Raises:
        UnreadableSample: the file is damaged, no picture, or has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    array = np.array(shrunk_square(path, image_size, "RGB" if channels == 3 else "L", white))
    return torch.from_numpy(array if array.ndim == 3 else array[:, :, None]).permute(2, 0, 1).contiguous()
