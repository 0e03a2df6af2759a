"""A trunk that does not learn: its features are computed once and kept on disk; rounds train a small head on them.

Features are read in evaluation mode and without augmentation, of the image and, if asked, of its mirror image. A folder
of the cache is named by a hash of the trunk's weights, the layers, the sizes, the ids and a sample of the pixels, so
another data set or other weights never find features that are not theirs.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from lossrank.config import Recipe
from lossrank.datasets.base import ImageData
from lossrank.errors import ConfigError, DataError, unknown_name
from lossrank.folder import write_atomic
from lossrank.kinds import KINDS
from lossrank.ledger import SampleId
from lossrank.models.heads import MapHead, VectorHead
from lossrank.models.resnet50 import load_trunk
from lossrank.models.trunks import TRUNKS, LayerMaps
from lossrank.models.weights import read_weights
from lossrank.parsing import read_json_object
from lossrank.pool import Pool, Transform
from lossrank.runtime import Runtime
from lossrank.sources import InMemory, Targets, gather

__all__ = ["FEATURES_CACHE", "FeaturePool", "Passes", "freeze", "frozen_head", "frozen_transforms"]

FEATURES_CACHE = Path("~/.cache/lossrank/features")
IN_MEMORY = 1 << 30  # bytes of features up to which they are read at once; beyond, pages come from the file
PROBES = 64  # images of a pool whose pixels name its folder
CHUNK = 512  # images after which features are safe on disk
HEAD = ("width", "dropout")  # options of the head; all others are `Frozen`'s


@dataclass(frozen=True)
class Frozen:
    """What `model.options` say to a frozen trunk, those of the head left out."""

    image_size: int | None = None
    """Longer side in pixels to which images are scaled for the trunk alone; None: as they are."""
    layers: Sequence[str] = ()
    """Which layers are read; the trunk's own choice if empty."""
    mirror: bool = False
    """Whether the mirror image is read too; training then takes one of the two at random."""
    batch_size: int = 64
    """Images a step, while features are computed."""
    half: bool = True
    """Whether features are kept in half precision."""


class FeaturePool(Pool):
    """Features [passes, channels] or [passes, channels, h, w] by the ids of another pool, whose pictures it shows."""

    pixels: tuple[int, int]
    """Height and width of the image that targets are in pixels of."""

    def __init__(self, source: InMemory, pixels: tuple[int, int]) -> None:
        super().__init__(source)
        self.pixels = pixels


class _Features(InMemory):
    """Features that are seen as the pictures they were computed from."""

    pictures: Pool

    def picture(self, sample: SampleId) -> Image.Image | None:
        return self.pictures.thumbnail(sample)


@dataclass(frozen=True)
class Passes:
    """Features [batch, passes, ...] to [batch, ...]: the first pass, or one at random for each sample."""

    augment: bool = False

    def __call__(
        self, inputs: Tensor, targets: Targets, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Targets]:
        """Float32 features; targets pass unchanged.

        Raises:
            ConfigError: there is something to draw and no generator.
        """
        if not self.augment or inputs.shape[1] == 1:
            return inputs[:, 0].float(), targets
        if generator is None:
            raise ConfigError("a random pass needs a generator: none was given")
        which = torch.randint(inputs.shape[1], (len(inputs),), generator=generator, device=generator.device)
        rows = torch.arange(len(inputs), device=inputs.device)
        return inputs[rows, which.to(inputs.device)].float(), targets


def freeze(recipe: Recipe, data: ImageData, runtime: Runtime) -> ImageData:
    """The same data with the features of a frozen trunk in place of pixels; ids, targets and pictures stay.

    Raises:
        ConfigError: no such trunk or option, or a trunk without pretrained weights.
        DataError: inputs are no byte images of 1 or 3 channels, or the cache cannot be written.
        MissingExtra: the trunk comes with an extra that is not installed.
    """
    reader = _Reader(recipe, data, runtime)
    cache = Path(recipe.model.cache).expanduser() if recipe.model.cache else FEATURES_CACHE.expanduser()
    train, test = (_pool(pool, reader, cache) for pool in (data.train, data.test))
    note = f"features of a frozen {recipe.model.name}: only a head on them learns"
    return dataclasses.replace(data, train=train, test=test, notes=(*data.notes, note))


def frozen_head(recipe: Recipe, data: ImageData) -> tuple[Callable[..., nn.Module], tuple[str, ...]]:
    """The factory of a head for the features of `freeze`, which takes `classes`, and its taps.

    Raises:
        ConfigError: the data holds no features.
    """
    pool = data.train
    if not isinstance(pool, FeaturePool):
        raise ConfigError("model.trunk is frozen; its head needs the features that lossrank.frozen.freeze computes")
    channels = next(pool.batches(pool.ids[:1])).inputs.shape[2]
    options = {name: value for name, value in recipe.model.options.items() if name in HEAD}
    stride = KINDS[recipe.task].stride
    if not stride:
        return lambda classes: VectorHead(channels, classes, **options), VectorHead.taps
    size = (pool.pixels[0] // stride, pool.pixels[1] // stride)
    return lambda classes: MapHead(channels, classes, size, **options), MapHead.taps


def frozen_transforms() -> tuple[Transform, Transform]:
    """What training and looking do to a batch of features."""
    return Passes(augment=True), Passes()


class _Reader:
    """Reads features of batches of images, and knows what they depend on."""

    def __init__(self, recipe: Recipe, data: ImageData, runtime: Runtime) -> None:
        name, kind = recipe.model.name, KINDS[recipe.task]
        if name not in TRUNKS:
            raise ConfigError("model.trunk is frozen: " + unknown_name("trunk", name, TRUNKS))
        self.options, entry = _options(recipe.model.options), TRUNKS[name]
        if self.options.mirror and kind.stride:
            raise ConfigError(f"task {recipe.task!r} has targets at places, which mirror: true would not move")
        trunk = entry.build()
        if recipe.model.weights:
            load_trunk(trunk, read_weights(recipe.model.weights, name))
        elif not entry.own_weights:
            raise ConfigError(f"a frozen {name} needs weights: model.weights is a file, a URL or imagenet")
        layers = tuple(self.options.layers) or (entry.maps if kind.stride else entry.vector)
        described = dataclasses.replace(self.options, layers=layers, batch_size=0)
        self.key = f"{name} {bool(kind.stride)} {described} {_digest(trunk.state_dict())}"
        self.runtime, self.mean, self.std = runtime, entry.mean, entry.std
        maps = LayerMaps(runtime.module(trunk).eval(), layers)
        self._features = maps.maps if kind.stride else maps.vectors
        _, self._look = kind.transforms(recipe.train, dataclasses.replace(data, mean=(), std=()))

    def prepared(self, inputs: Tensor, targets: Targets, generator: torch.Generator | None) -> tuple[Tensor, Targets]:
        """Byte images as the trunk expects them, but for their size: a `Transform`."""
        if inputs.dtype != torch.uint8 or inputs.ndim != 4 or inputs.shape[1] not in (1, 3):
            raise DataError(
                f"a frozen trunk reads bytes [batch, 1 or 3, height, width]; a batch is {inputs.dtype} "
                f"{list(inputs.shape)}"
            )
        images, targets = self._look(inputs, targets, None)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (images.expand(-1, 3, -1, -1) - mean) / std, targets

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """[batch, passes, ...] on the CPU, of images as `prepared` gives them."""
        size = self.options.image_size
        if size and size != max(images.shape[2:]):
            scale = size / max(images.shape[2:])
            shape = [max(1, round(side * scale)) for side in images.shape[2:]]
            images = F.interpolate(images, size=shape, mode="bilinear", antialias=True)
        views = [images, images.flip(3)] if self.options.mirror else [images]
        with self.runtime.autocast():
            passes = [self._features(self.runtime.tensor(view)) for view in views]
        kept = torch.stack(passes, 1).cpu()
        return kept.half() if self.options.half else kept.float()


def _pool(pool: Pool, reader: _Reader, cache: Path) -> FeaturePool:
    """The features of a pool: read from its folder of the cache, computed first where they are not yet there."""
    probes = pool.ids[:: max(1, len(pool.ids) // PROBES)]
    key = hashlib.blake2b(reader.key.encode(), digest_size=12)
    key.update("\n".join(pool.ids).encode())
    pixels = (0, 0)
    for batch in pool.batches(probes, 16, transform=reader.prepared):
        key.update(batch.inputs.contiguous().numpy().tobytes())
        pixels = (batch.inputs.shape[2], batch.inputs.shape[3])
    folder = cache / key.hexdigest()
    with _alone(folder):
        if not (folder / "features.npy").exists():
            _compute(pool, reader, folder)
    unreadable = _progress(folder)["unreadable"]
    path = folder / "features.npy"
    whole = path.stat().st_size <= IN_MEMORY
    features = torch.from_numpy(np.load(path, mmap_mode=None if whole else "c"))
    return FeaturePool(_source(pool, features, unreadable), pixels)


def _source(pool: Pool, features: Tensor, unreadable: Mapping[SampleId, str]) -> InMemory:
    read = [i for i in pool.ids if i not in unreadable]
    place = {sample: row for row, sample in enumerate(read)}
    rows = torch.tensor([place.get(i, 0) for i in pool.ids])  # what cannot be read is never asked for its target
    source = _Features(features, pool.ids, gather(pool.targets(read), rows), unreadable)
    source.pictures = pool
    return source


def _compute(pool: Pool, reader: _Reader, folder: Path) -> None:
    """Fill the folder, from where an earlier call was stopped. The file of features gets its name when it is whole."""
    part, done = folder / "features.part.npy", _progress(folder)
    place = {sample: row for row, sample in enumerate(pool.ids)}
    kept: np.memmap[Any, Any] | None = np.load(part, mmap_mode="r+") if done["rows"] and part.exists() else None
    begin, unreadable = (done["rows"] if kept is not None else 0), done["unreadable"]
    for first in range(begin, len(pool.ids), CHUNK):
        chunk = pool.ids[first : first + CHUNK]
        for batch in pool.batches(chunk, reader.options.batch_size, transform=reader.prepared):
            features = reader.features(batch.inputs).numpy()
            if kept is None:
                kept = _reserved(part, (len(pool.ids), *features.shape[1:]), features.dtype)
            kept[[place[i] for i in batch.ids]] = features
        if kept is not None:
            kept.flush()
        unreadable |= {i: pool.unreadable[i] for i in chunk if i in pool.unreadable}
        write_atomic(folder / "progress.json", json.dumps({"rows": first + len(chunk), "unreadable": unreadable}))
    part.replace(folder / "features.npy")


def _reserved(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.memmap[Any, Any]:
    """A new file of this shape with its whole space taken: a full disk then is an error now, not a crash later."""
    try:
        made = np.lib.format.open_memmap(path, "w+", dtype, shape)
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        size = int(np.prod(shape)) * dtype.itemsize
        raise DataError(
            f"{size / 2**20:.0f} MiB of features cannot be kept at {path.parent}: {error.strerror}; model.cache names "
            "another folder"
        ) from error
    return made


def _progress(folder: Path) -> dict[str, Any]:
    path = folder / "progress.json"
    return read_json_object(path) if path.exists() else {"rows": 0, "unreadable": {}}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for others who fill the same folder. The kernel frees the lock of a process that died."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DataError(
            f"features cannot be kept at {folder}: {error.strerror}; model.cache names another folder"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _options(options: Mapping[str, Any]) -> Frozen:
    known = [field.name for field in dataclasses.fields(Frozen)]
    for name in options:
        if name not in (*known, *HEAD):
            raise ConfigError(unknown_name("option of a frozen trunk", name, (*known, *HEAD)))
    made = Frozen(**{name: value for name, value in options.items() if name in known})
    if made.image_size is not None and made.image_size < 32:
        raise ConfigError(f"image_size must be >= 32, at which the last layer is 1x1, got {made.image_size}")
    return made


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for name, tensor in state.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
