"""scikit-learn's 1,797 handwritten digits of 8x8 pixels: real images that a dependency carries.

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI machine learning repository, 1998 (the
test part: 13 writers).
"""

from __future__ import annotations

from pathlib import Path

import torch

from lossrank.datasets.base import ImageData, hash_share, pixel_statistics
from lossrank.errors import ConfigError
from lossrank.pool import Pool

__all__ = ["load_digits"]

TEST_PER_CLASS = 50


def load_digits(path: Path | None = None) -> ImageData:
    """1,297 images to choose from and 500 held out; ids `digit-0000` to `digit-1796` in scikit-learn's order.

    Held out are, of each digit, the 50 whose ids have the smallest hash. Images are [1, 8, 8] bytes: the 17 grey
    levels 0..16 stretched to 0..255.

    Raises:
        ConfigError: a path is given; scikit-learn carries the data itself.
    """
    if path is not None:
        raise ConfigError(f"the digits come with scikit-learn and are not read from {path}: leave `data` out")
    from sklearn import datasets  # a second to import: only for those who ask for digits

    bunch = datasets.load_digits()
    images = torch.from_numpy(bunch.images * (255 / 16)).round().to(torch.uint8)[:, None]
    pool = Pool(images, [f"digit-{row:04d}" for row in range(len(images))], torch.from_numpy(bunch.target).long())
    of_class: dict[int, list[str]] = {}
    for sample, digit in zip(pool.ids, bunch.target.tolist(), strict=True):
        of_class.setdefault(digit, []).append(sample)
    test = {i for ids in of_class.values() for i in sorted(ids, key=hash_share)[:TEST_PER_CLASS]}
    train_ids = [i for i in pool.ids if i not in test]
    mean, std = pixel_statistics(images[[i not in test for i in pool.ids]])
    return ImageData(
        pool.view(train_ids),
        pool.view([i for i in pool.ids if i in test]),
        tuple(str(digit) for digit in range(10)),
        mean,
        std,
        ("scikit-learn's handwritten digits: 8x8 pixels, 13 writers, who appear on both sides of the split",),
    )
