"""Images per second of the in-memory training data path, against a DataLoader with a transform of each image.

Both give shuffled batches of 64 normalised float32 images of 32x32, cropped at random out of 36x36 zero-padded pixels
and mirrored half of the time. The rival is what torchvision's ToTensor, RandomCrop, RandomHorizontalFlip and Normalise
do over Pillow images, with no worker processes and with two; it is compared at its best. Best of several passes each,
in turns. The bar: 10 times the images a second.

    python benchmarks/data_path.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lossrank.pool import Pool
from lossrank.transforms import Augment

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
BATCH, PADDING, BAR = 64, 2, 10.0


class PerImage(Dataset[tuple[Tensor, int]]):
    """The usual way: a Pillow image at a time."""

    def __init__(self, images: np.ndarray[Any, Any]) -> None:
        self.images = images
        self.mean, self.std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index])
        padded = Image.new("RGB", (32 + 2 * PADDING, 32 + 2 * PADDING))
        padded.paste(image, (PADDING, PADDING))
        left, top = torch.randint(2 * PADDING + 1, (2,)).tolist()
        image = padded.crop((left, top, left + 32, top + 32))
        if torch.rand(()) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div_(255)
        return pixels.sub_(self.mean).div_(self.std), 0


def main() -> int:
    """Print images per second of either and their ratio; exit status 1 below the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, help="images in the pool")
    parser.add_argument("--passes", type=int, default=3, help="passes of each, of which the best counts")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (options.images, 3, 32, 32), dtype=torch.uint8, generator=draw)
    pool = Pool(images, [f"image-{k}" for k in range(len(images))], torch.zeros(len(images), dtype=torch.long))
    rival = PerImage(images.permute(0, 2, 3, 1).contiguous().numpy())

    def ours(channels_last: bool) -> Iterable[Any]:
        augment = Augment(MEAN, STD, PADDING, True, channels_last)
        return pool.batches(batch_size=BATCH, transform=augment, generator=draw, shuffle=True)

    paths: dict[str, Callable[[], Iterable[Any]]] = {
        "lossrank, in memory": lambda: ours(channels_last=False),
        "lossrank, in memory, channels last": lambda: ours(channels_last=True),
        "DataLoader and Pillow": lambda: DataLoader(rival, BATCH, shuffle=True),
        "DataLoader and Pillow, 2 workers": lambda: DataLoader(rival, BATCH, shuffle=True, num_workers=2),
    }
    speeds = dict.fromkeys(paths, 0.0)
    for _ in range(options.passes):
        for name, path in paths.items():
            speeds[name] = max(speeds[name], options.images / _seconds(path()))
    for name, speed in speeds.items():
        print(f"{name:<36}{speed:>10,.0f} images/s")
    best = max(speed for name, speed in speeds.items() if name.startswith("DataLoader"))
    ratio = speeds["lossrank, in memory"] / best
    print(f"ratio {ratio:.1f}x of the rival's best; the bar is {BAR:.0f}x: {'met' if ratio >= BAR else 'MISSED'}")
    return 0 if ratio >= BAR else 1


def _seconds(batches: Iterable[Any]) -> float:
    begin = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - begin


if __name__ == "__main__":
    raise SystemExit(main())
