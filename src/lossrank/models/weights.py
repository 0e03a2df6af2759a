"""Pretrained weights from a file or an address, their checksum looked at before anything reads them."""

from __future__ import annotations

import hashlib
import re
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lossrank.errors import ConfigError, DataError, RunError, unknown_name
from lossrank.folder import load_weights

__all__ = ["IMAGENET", "WEIGHTS_CACHE", "read_weights"]

IMAGENET: Mapping[str, str] = {
    "resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    "pose_resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    "density_resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
}
"""Where torchvision publishes the ImageNet weights of each model's trunk."""
WEIGHTS_CACHE = Path("~/.cache/lossrank/weights")
DIGEST = re.compile(r"-([0-9a-f]{8,64})\.[^.]+$")  # torchvision puts the first digits of the sha256 into the name
SECONDS = 60  # without a byte


def read_weights(source: str, model: str, cache: Path = WEIGHTS_CACHE) -> dict[str, Tensor]:
    """The state dict at `source`, on the CPU.

    A name that ends in `-` and 8 or more hexadecimal digits, as torchvision's do, promises a sha256 that begins so.

    Args:
        source: a file, a URL, or `imagenet` for the published weights of `model`.
        cache: where a download is kept, under its own name.

    Raises:
        ConfigError: nothing is published for this model.
        DataError: the file is missing, has another checksum (a download is then removed from the cache), cannot be
            downloaded, or holds no tensors by name.
    """
    if source == "imagenet":
        if model not in IMAGENET:
            raise ConfigError("no ImageNet weights are published: " + unknown_name("model", model, IMAGENET))
        source = IMAGENET[model]
    if re.match(r"[a-z]+://", source):
        return _state(_downloaded(source, cache.expanduser()))
    path = Path(source).expanduser()
    if not path.is_file():
        raise DataError(f"there are no weights at {path}; model.weights is a file, a URL or imagenet")
    _check(path, path.name)
    return _state(path)


def _downloaded(url: str, cache: Path) -> Path:
    path = cache / url.rpartition("/")[2]
    if path.exists():
        _check(path, path.name, remove=True)
        return path
    part = path.with_name(path.name + ".part")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=SECONDS) as answer, part.open("wb") as file:
            while block := answer.read(1 << 20):
                file.write(block)
    except (OSError, ValueError) as error:
        part.unlink(missing_ok=True)
        raise DataError(
            f"{url} cannot be downloaded to {cache}: {error}. Fetch it elsewhere and give model.weights its path"
        ) from error
    _check(part, path.name, remove=True)
    part.replace(path)
    return path


def _check(path: Path, name: str, *, remove: bool = False) -> None:
    """Refuse a file whose sha256 does not begin as its name promises."""
    promised = DIGEST.search(name)
    if promised is None:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found.startswith(promised[1]):
        return
    size = path.stat().st_size
    if remove:
        path.unlink()
    raise DataError(
        f"the checksum of {path} is wrong: its {size} bytes have sha256 {found[:16]}.., its name promises "
        f"{promised[1]}. It is truncated or another file{'; it was removed, try again' if remove else ''}"
    )


def _state(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_weights(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except RunError as error:
        raise DataError(str(error)) from error
    except Exception as error:  # a damaged file can raise anything
        raise DataError(f"the weights {path} cannot be read: {type(error).__name__}: {error}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{path} holds a {type(state).__name__}; expected a state dict: tensors by name")
    return state
