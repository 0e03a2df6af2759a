"""Leeds Sports Pose Extended (Johnson and Everingham, 2011): 10,000 people at sport, 14 joints."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lossrank.datasets.base import pixel_statistics
from lossrank.datasets.mat_files import read_mat
from lossrank.datasets.packed import decode_all, read_packed
from lossrank.datasets.pose import IN_MEMORY, Person, PoseData, people_pool
from lossrank.errors import DataError, listed
from lossrank.pool import Pool
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
    missing = [name for name in names if not os.path.isfile(folder / "images" / name)]
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
    values = read_mat(path, LAYOUTS, variable_names=["joints"]).get("joints")
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "buif":
        raise DataError(f"{path} cannot be read: it holds no array joints of numbers; {LAYOUTS}")
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
    kinds = {"jpeg": "u", "offsets": "ui", "names": "U", "keypoints": "uif", "visible": "uifb"}
    parts = read_packed(path, kinds, LAYOUTS)
    count, keypoints, visible = len(parts["offsets"]) - 1, parts["keypoints"], parts["visible"]
    if parts["names"].shape != (count,) or keypoints.shape != (count, 14, 2) or visible.shape != (count, 14):
        raise DataError(
            f"{path} holds names {list(parts['names'].shape)}, {count + 1} offsets, keypoints {list(keypoints.shape)} "
            f"and visible {list(visible.shape)}; expected [N], N + 1, [N, 14, 2] and [N, 14]"
        )
    images = torch.from_numpy(decode_all(path, parts)).permute(0, 3, 1, 2).contiguous()
    targets = np.concatenate([keypoints, visible[:, :, None]], 2).astype(np.float32)
    return images, torch.from_numpy(targets), parts["names"].tolist(), parts.sha256


def _data(train: Pool, test: Pool, statistics: tuple[tuple[float, ...], tuple[float, ...]], note: str) -> PoseData:
    return PoseData(train, test, JOINTS, *statistics, (note,), pairs=PAIRS, links=LINKS, head=HEAD)
