"""ShanghaiTech (Zhang et al., 2016): crowds with a point on every head; part A from the web, part B from streets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lossrank.datasets.counting import IN_MEMORY, CountingData, Picture, Scale, counting_data
from lossrank.datasets.mat_files import read_mats
from lossrank.datasets.packed import cut, read_packed
from lossrank.errors import ConfigError, DataError, listed

__all__ = ["load_shanghaitech"]

PICTURES = {"A": (300, 182), "B": (400, 316)}
HEADS = {"B": (49_151, 39_121)}  # in the .mat files of the release
STATISTICS = {  # of part B's training pictures, as the C-3-Framework has them
    "B": (
        (0.452016860247, 0.447249650955, 0.431981861591),
        (0.23242045939, 0.224925786257, 0.221840232611),
    )
}
PACKED = {  # sha256 of the halved copy of part B that results were recorded with
    "train.npz": "093bd1a9bf4c34700e89c65ef2eab2e360aa0d87e41fcfc9081d4847a46732ac",
    "test.npz": "64054b8eea107ed157a09a139820bed956ade4c3b170cae6270e6450c0935bdb",
}
LAYOUTS = (
    "expected is part_A or part_B, or with _final behind, and in it train_data and test_data, each with "
    "images/IMG_1.jpg .. and ground-truth/GT_IMG_1.mat .. (or ground_truth), as unpacked from the links on "
    "https://github.com/desenzhou/ShanghaiTechDataset; or a halved copy of part B: train.npz and test.npz with the "
    "arrays jpeg, offsets, points, point_offsets and names"
)


def load_shanghaitech(
    path: Path | None,
    *,
    part: str = "B",
    image_height: int | None = None,
    verify: bool = True,
    max_memory: int = IN_MEMORY,
    workers: int = 0,
) -> CountingData:
    """Whole pictures with a point on every head, the official split. Ids are the files' names without ending, `IMG_1`.

    Part B's pictures are 1024 x 768 pixels; part A's differ in size, and a batch of the pool holds pictures of one
    size. Heads have the first pixel at 0, one less than in the files.

    Args:
        path: the folder that holds `part_A` or `part_B`, or that folder itself. Which layout it is shows itself.
        part: A or B.
        image_height: pixels to scale each picture to, its width in proportion; the reference's is 768. As they are if
            not given.
        verify: whether there must be the official number of pictures and, in part B, of heads, and a copy as results
            were recorded with.
        max_memory: bytes up to which pictures are decoded once and kept; beyond, they are read for each batch.
        workers: processes that read ahead where pictures are read for each batch.

    Raises:
        DataError: nothing at `path`, another layout, or files that are not what they should be.
        ConfigError: another part.
    """
    if part not in PICTURES:
        raise ConfigError(f"part must be one of {listed(PICTURES)}, got {part!r}")
    name = f"ShanghaiTech part {part}"
    if path is None:
        raise DataError(f"{name} needs to be told where it lies (data: FOLDER); {LAYOUTS}")
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise DataError(f"{name} was looked for in {path}, which {found}; {LAYOUTS}")
    options: dict[str, Any] = {"statistics": STATISTICS.get(part), "max_memory": max_memory, "workers": workers}
    if (path / "train.npz").exists() and part == "B":
        parts, note = _packed(path, verify)
    else:
        parts, note = _official(_folder(path, part), part, verify), f"{name}, the official split"
    if image_height:
        note += f", scaled to {image_height} pixels of height"
    return counting_data(parts, Scale(image_height), (note,), **options)


def _folder(path: Path, part: str) -> Path:
    for folder in (path, path / f"part_{part}", path / f"part_{part}_final"):
        if (folder / "train_data").is_dir():
            return folder
    names = listed(sorted(entry.name for entry in path.iterdir()), 8) or "nothing"
    raise DataError(f"ShanghaiTech part {part} was looked for in {path}, which holds {names}; {LAYOUTS}")


def _official(folder: Path, part: str, verify: bool) -> list[list[Picture]]:
    parts = []
    for place, name in enumerate(("train_data", "test_data")):
        pictures = _pictures(folder / name, verify)
        if verify and len(pictures) != PICTURES[part][place]:
            raise DataError(f"{folder / name} has {len(pictures)} pictures; part {part} has {PICTURES[part][place]}")
        heads = sum(len(p.points) for p in pictures if p.points is not None)
        if verify and part in HEADS and heads != HEADS[part][place]:
            raise DataError(f"{folder / name} has {heads} heads; part {part} has {HEADS[part][place]}")
        parts.append(pictures)
    return parts


def _pictures(folder: Path, verify: bool) -> list[Picture]:
    truth = next((folder / name for name in ("ground-truth", "ground_truth") if (folder / name).is_dir()), None)
    if not (folder / "images").is_dir() or truth is None:
        raise DataError(f"{folder} has no images or no ground-truth; {LAYOUTS}")
    images = {file.stem: file for file in (folder / "images").iterdir() if file.suffix.lower() in (".jpg", ".jpeg")}
    marked = {file.stem.removeprefix("GT_"): file for file in truth.glob("GT_*.mat")}
    without, gone = sorted(images.keys() - marked.keys()), sorted(marked.keys() - images.keys())
    if verify and (without or gone):
        raise DataError(
            f"{folder}: {len(without)} pictures have no GT_*.mat ({listed(without) or 'none'}), {len(gone)} of these "
            f"have no picture ({listed(gone) or 'none'}). Pass dataset_options {{verify: false}} to go on without them"
        )
    names = sorted(images, key=lambda stem: (int(re.sub(r"\D", "", stem) or 0), stem))
    files = [marked[stem] for stem in names if stem in marked]
    heads = {file: _heads(file, content) for file, content in zip(files, read_mats(files, LAYOUTS), strict=True)}
    return [Picture(stem, images[stem], heads[marked[stem]] if stem in marked else None) for stem in names]


def _heads(file: Path, content: Mapping[str, Any]) -> Tensor:
    """[heads, 2] x, y with the first pixel being 0."""
    try:
        info = content["image_info"][0, 0]
        location, number = info["location"][0, 0], int(info["number"][0, 0].item())
        location = np.asarray(location, np.float64)
    except Exception as error:  # a damaged file can hold anything
        raise DataError(f"{file} cannot be read: {type(error).__name__}: {error}; {LAYOUTS}") from error
    location = location.reshape(-1, 2) if location.size == 0 else location
    if location.ndim != 2 or location.shape[1] != 2 or len(location) != number:
        raise DataError(f"{file} says {number} heads and holds points {list(location.shape)}; expected [{number}, 2]")
    return torch.from_numpy(location) - 1  # MATLAB counts from 1


def _packed(folder: Path, verify: bool) -> tuple[list[list[Picture]], str]:
    found = [_read_packed(folder / name) for name in PACKED]
    known = all(digest == PACKED[name] for name, (_, digest) in zip(PACKED, found, strict=True))
    if verify and not known:
        other = [name for name, (_, digest) in zip(PACKED, found, strict=True) if digest != PACKED[name]]
        raise DataError(
            f"{listed(other)} in {folder}: the sha256 is not that of the copy results were recorded with; pass "
            "dataset_options {verify: false} to read it all the same"
        )
    kind = "halved" if known else "a copy of unknown making"
    return [pictures for pictures, _ in found], f"ShanghaiTech part B, {kind}, the official split"


def _read_packed(path: Path) -> tuple[list[Picture], str]:
    """The pictures, and the sha256 of the file."""
    kinds = {"jpeg": "u", "offsets": "ui", "points": "uif", "point_offsets": "ui", "names": "U"}
    parts = read_packed(path, kinds, LAYOUTS)
    names, heads, points = parts["names"], parts["point_offsets"], torch.from_numpy(parts["points"]).double()
    ends = len(parts["offsets"]), len(heads)
    fits = names.ndim == heads.ndim == 1 and ends == (len(names) + 1,) * 2
    if not fits or points.ndim != 2 or points.shape[1] != 2:
        raise DataError(
            f"{path} holds {names.size} names, {ends[0]} offsets, {ends[1]} point_offsets and points "
            f"{list(points.shape)}; expected N, N + 1, N + 1 and [last point offset, 2]"
        )
    if heads[0] != 0 or heads[-1] != len(points) or (np.diff(heads.astype(np.int64)) < 0).any():
        raise DataError(f"{path}: the point_offsets do not cut {len(points)} points into {len(names)} pictures")
    # Points are half of those in the .mat files, so 0.5 is the middle of the whole picture's first pixel. That lies a
    # quarter of a pixel before the middle of the half's first, at -0.25.
    points -= 0.75
    rows = enumerate(zip(names.tolist(), cut(path, parts), strict=True))
    return [Picture(name, jpeg, points[heads[k] : heads[k + 1]]) for k, (name, jpeg) in rows], parts.sha256
