"""Leeds Sports Pose Extended (Johnson and Everingham, 2011): 10,000 people at sport, 14 joints."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.io import loadmat
from torch import Tensor

from lossrank.datasets.base import pixel_statistics
from lossrank.datasets.pose import IN_MEMORY, Person, PoseData, people_pool
from lossrank.errors import DataError, listed
from lossrank.pool import Pool
from lossrank.regular import read_file
from lossrank.sources import InMemory

__all__ = ["JOINTS", "load_leeds"]

JOINTS = (
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "neck",
    "head_top",
)
PAIRS = ((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9))
LINKS = (
    *((0, 1), (1, 2), (2, 3), (3, 4), (4, 5)),  # legs
    *((6, 7), (7, 8), (8, 12), (12, 9), (9, 10), (10, 11)),  # arms
    *((12, 13), (2, 8), (3, 9)),  # head and trunk
)
HEAD = (12, 13)
COUNT, LAST_TRAIN = 10_000, 8_000
CROPS = {  # sha256 of the packed crops that results were recorded with
    "train.npz": "690a407a020b6d2516da350291bebe0447061b7baf6d05fd3cf52e3cac7fb042",
    "test.npz": "2ddbccafc2d788ec919791c4a8503c9d1020f46706f8383cb59441ce66bbadce",
}
LAYOUTS = (
    "expected is either joints.mat (14 x 3 x 10000) beside images/im00001.jpg .. im10000.jpg, as unpacked from "
    "http://sam.johnson.io/research/lspet.html, or packed crops: train.npz and test.npz with the arrays jpeg, offsets, "
    "keypoints and visible"
)


def load_leeds(
    path: Path | None,
    *,
    image_size: int = 128,
    min_joints: int = 0,
    verify: bool = True,
    max_memory: int = IN_MEMORY,
) -> PoseData:
    """People cut out square, 1.25 times as large as their joints reach. Ids are the files' names, `im00001.jpg`.

    There is no official split: held out are the files from 8001 on, a block, so that one photographer's series is less
    likely to lie on both sides. The head size is the distance of neck and top of the head; people without either train
    and are not measured.

    Args:
        path: the folder. Which of the two layouts it is shows itself; packed crops have their own size and split.
        image_size: side of a crop in pixels.
        min_joints: leave out people with fewer visible joints.
        verify: whether there must be 10,000 people, all of their pictures, and crops as results were recorded with.

    Raises:
        DataError: nothing at `path`, another layout, or files that are not what they should be.
    """
    if path is None:
        raise DataError(f"Leeds Sports Pose Extended needs to be told where it lies (data: FOLDER); {LAYOUTS}")
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise DataError(f"Leeds Sports Pose Extended was looked for in {path}, which {found}; {LAYOUTS}")
    if (path / "joints.mat").exists():
        return _official(path, image_size, min_joints, verify, max_memory)
    if (path / "train.npz").exists():
        return _packed(path, verify)
    names = listed(sorted(entry.name for entry in path.iterdir()), 8) or "nothing"
    raise DataError(f"Leeds Sports Pose Extended was looked for in {path}, which holds {names}; {LAYOUTS}")


def _official(folder: Path, image_size: int, min_joints: int, verify: bool, max_memory: int) -> PoseData:
    joints = _read_joints(folder / "joints.mat")
    if verify and len(joints) != COUNT:
        raise DataError(f"{folder / 'joints.mat'} holds {len(joints)} people; the official file has {COUNT}")
    names = [f"im{number:05d}.jpg" for number in range(1, len(joints) + 1)]
    missing = [name for name in names if not (folder / "images" / name).exists()]
    if verify and missing:
        raise DataError(
            f"{folder / 'images'} lacks {len(missing)} of {len(names)} pictures: {listed(missing)}; {LAYOUTS}"
        )
    people = [
        Person(name, folder / "images" / name, person)
        for name, person in zip(names, joints, strict=True)
        if int(person[:, 2].sum()) >= min_joints
    ]
    train, test = (
        people_pool([p for p in people if (int(p.id[2:7]) > LAST_TRAIN) is late], image_size, max_memory)
        for late in (False, True)
    )
    few = torch.cat([batch.inputs for batch in train.batches(train.ids[:2000], 500)])
    note = "Leeds Sports Pose Extended: held out are files 8001 to 10000, a split of ours"
    return _data(train, test, pixel_statistics(few), note)


def _read_joints(path: Path) -> Tensor:
    """[people, 14, 3] x, y with the first pixel being 0, and visibility."""
    try:
        values = loadmat(io.BytesIO(read_file(path)))["joints"]
    except Exception as error:  # a damaged file can raise anything
        raise DataError(f"{path} cannot be read: {type(error).__name__}: {error}; {LAYOUTS}") from error
    if values.ndim != 3 or values.shape[:2] != (14, 3):
        raise DataError(f"{path} holds joints of shape {list(values.shape)}; expected [14, 3, people]")
    joints = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1).astype(np.float32)))
    joints[:, :, :2] -= 1  # MATLAB counts from 1
    joints[:, :, 2] = (joints[:, :, 2] > 0) & joints[:, :, :2].isfinite().all(2)
    return joints


def _packed(folder: Path, verify: bool) -> PoseData:
    images, targets, names, sha_train = _read_packed(folder / "train.npz")
    test_images, test_targets, test_names, sha_test = _read_packed(folder / "test.npz")
    digests = {"train.npz": sha_train, "test.npz": sha_test}
    known = digests == CROPS
    if verify and not known:
        other = [name for name in CROPS if digests[name] != CROPS[name]]
        raise DataError(
            f"{listed(other)} in {folder}: the sha256 is not that of the crops results were recorded with; pass "
            "dataset_options {verify: false} to read them all the same"
        )
    note = "Leeds Sports Pose Extended, 6,000 crops" if known else "Leeds Sports Pose Extended, crops of unknown making"
    train = Pool(InMemory(images, names, targets))
    test = Pool(InMemory(test_images, test_names, test_targets))
    return _data(
        train, test, pixel_statistics(images), f"{note}: PCKh by neck and head top, not comparable with MPII's"
    )


def _read_packed(path: Path) -> tuple[Tensor, Tensor, list[str], str]:
    """Images [N, 3, side, side], targets [N, 14, 3], names, and the sha256 of the file."""
    try:
        raw = read_file(path)
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            jpeg, offsets, names = archive["jpeg"], archive["offsets"].tolist(), archive["names"].tolist()
            keypoints, visible = archive["keypoints"], archive["visible"]
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read: {error}; {LAYOUTS}") from error
    if len(offsets) != len(names) + 1 or keypoints.shape != (len(names), 14, 2) or visible.shape != (len(names), 14):
        raise DataError(
            f"{path} holds {len(names)} names, {len(offsets)} offsets, keypoints {list(keypoints.shape)} and "
            f"visible {list(visible.shape)}; expected N, N + 1, [N, 14, 2] and [N, 14]"
        )
    try:
        images = _decoded(jpeg.tobytes(), offsets)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"an image of {path} cannot be read: {error}") from error
    targets = np.concatenate([keypoints, visible[:, :, None]], 2).astype(np.float32)
    return images, torch.from_numpy(targets), names, hashlib.sha256(raw).hexdigest()


def _decoded(jpeg: bytes, offsets: Sequence[int]) -> Tensor:
    """[N, 3, height, width] bytes of the N JPEG files between the offsets; made once, as there is one large copy."""

    def decode(row: int) -> np.ndarray[Any, Any]:
        with Image.open(io.BytesIO(jpeg[offsets[row] : offsets[row + 1]]), formats=("JPEG",)) as image:
            return np.array(image.convert("RGB")).transpose(2, 0, 1)

    first = decode(0)
    images = np.empty((len(offsets) - 1, *first.shape), np.uint8)

    def keep(row: int) -> None:
        pixels = decode(row)
        if pixels.shape != first.shape:  # a single row would be spread over the image without a word
            raise ValueError(f"image {row} is {pixels.shape[1:]} pixels, the first {first.shape[1:]}")
        images[row] = pixels

    with ThreadPoolExecutor() as threads:  # Pillow lets go of the interpreter while it decodes
        list(threads.map(keep, range(len(images))))
    return torch.from_numpy(images)


def _data(train: Pool, test: Pool, statistics: tuple[tuple[float, ...], tuple[float, ...]], note: str) -> PoseData:
    return PoseData(train, test, JOINTS, *statistics, (note,), pairs=PAIRS, links=LINKS, head=HEAD)
