"""MPII Human Pose (Andriluka et al., 2014): 16 joints, people of known centre and scale, PCKh by the head box."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lossrank.datasets.base import hash_share
from lossrank.datasets.mat_files import read_mat
from lossrank.datasets.pose import IMAGENET_MEAN, IMAGENET_STD, IN_MEMORY, Box, Person, PoseData, people_pool
from lossrank.decoding import white_of
from lossrank.errors import DataError, listed
from lossrank.requirements import require_count
from lossrank.strict_json import read_strict
from lossrank.tasks.pck import MPII_HEAD_BOX

__all__ = ["JOINTS", "PAIRS", "load_mpii"]

JOINTS = (
    "right_ankle",
    "right_knee",
    "right_hip",
    "left_hip",
    "left_knee",
    "left_ankle",
    "pelvis",
    "thorax",
    "upper_neck",
    "head_top",
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
)
PAIRS = ((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13))
LINKS = (
    *((0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5)),  # legs
    *((10, 11), (11, 12), (12, 7), (7, 13), (13, 14), (14, 15)),  # arms
    *((6, 7), (7, 8), (8, 9)),  # trunk and head
)
MASKED = (6, 7)
COUNTS = {"train": 22_246, "valid": 2_958}
OFFICIAL = "mpii_human_pose_v1_u12_1.mat"
LAYOUTS = (
    "expected are the pictures in images/ (mpii_human_pose_v1.tar.gz of http://human-pose.mpi-inf.mpg.de/) and beside "
    "it either annot/train.json, annot/valid.json and annot/gt_valid.mat, as the repository of Simple Baselines "
    f"(microsoft/human-pose-estimation.pytorch) links them, or the official annotation {OFFICIAL}"
)


def load_mpii(
    path: Path | None,
    *,
    image_size: int = 256,
    context: int = 0,
    valid_fraction: float = 0.1,
    verify: bool = True,
    max_memory: int = IN_MEMORY,
    workers: int = 0,
) -> PoseData:
    """People cut out as the reference code does: 250 pixels of scale about a centre moved 15 pixels of scale down.

    Ids are the picture's name and the person's place among those of it in the annotation: `015601864.jpg/0`. The head
    size is 0.6 times the diagonal of the head box; pelvis and thorax are not measured.

    Args:
        path: the folder.
        image_size: side in pixels of what the network takes.
        context: pixels kept on each side of that, from which augmentation fills corners; 64 of 256 are enough for a
            shrinking by 1.25, more for rotations.
        valid_fraction: of the pictures to hold out by a hash of their names, where only the official annotation is
            there: the usual 22,246 and 2,958 people are a split of the files of Simple Baselines.
        verify: whether those files must hold that many people, and every picture named must be there.
        max_memory: bytes up to which crops are made once and kept; beyond, they are made for each batch.
        workers: processes that read ahead where crops are made for each batch.

    Raises:
        DataError: nothing at `path`, another layout, or files that are not what they should be.
    """
    if path is None:
        raise DataError(f"MPII needs to be told where it lies (data: FOLDER); {LAYOUTS}")
    if not path.is_dir():
        raise DataError(
            f"MPII was looked for in {path}, which {'is a file' if path.exists() else 'does not exist'}; {LAYOUTS}"
        )
    require_count("context", context, 0)
    if not (path / "images").is_dir():
        raise DataError(f"{path} has no folder images; {LAYOUTS}")
    crop = _Crop(path / "images", image_size, image_size + 2 * context)
    people, note = _people(path, crop, valid_fraction, verify)
    if verify:
        _check_pictures(path, [person for part in people for person in part])
    white = white_of(dict.fromkeys(person.file for part in people for person in part))
    train, test = (people_pool(part, crop.kept, max_memory, workers, white) for part in people)
    size = (image_size, image_size) if context else None
    known: dict[str, Any] = {"pairs": PAIRS, "links": LINKS, "masked": MASKED, "size": size}
    return PoseData(train, test, JOINTS, IMAGENET_MEAN, IMAGENET_STD, (note,), **known)


class _Crop:
    """How a person is cut out."""

    def __init__(self, images: Path, pixels: int, kept: int) -> None:
        self.images, self.pixels, self.kept = images, pixels, kept

    def person(
        self,
        name: str,
        place: int,
        centre: Sequence[float],
        scale: float,
        joints: Sequence[Sequence[float]],
        head: float,
    ) -> Person:
        """A person of an annotation in MATLAB's coordinates, whose first pixel is 1.

        Args:
            joints: 16 rows of x, y, visibility.
            head: head size in pixels.
        """
        x, y = centre
        if x != -1:  # the reference: less of what is above the head, more of the feet
            y, scale = y + 15 * scale, scale * 1.25
        rows = torch.tensor(joints, dtype=torch.float32)
        rows[:, :2] -= 1
        rows[:, 2] = (rows[:, 2] > 0) & rows[:, :2].isfinite().all(1)
        box = Box.of_scale((x - 1, y - 1), scale, self.pixels, self.kept)
        return Person(f"{name}/{place}", self.images / name, rows, box, head)


def _people(folder: Path, crop: _Crop, fraction: float, verify: bool) -> tuple[list[list[Person]], str]:
    """People to choose from and people held out, and a note for the reader of the results."""
    annotations = folder / "annot"
    if (annotations / "train.json").exists():
        for name in ("valid.json", "gt_valid.mat"):
            if not (annotations / name).exists():
                raise DataError(f"{annotations} holds train.json and no {name}; {LAYOUTS}")
        heads = _head_sizes(annotations / "gt_valid.mat")
        parts = [_of_json(annotations / "train.json", crop, None), _of_json(annotations / "valid.json", crop, heads)]
        for name, part in zip(COUNTS, parts, strict=True):
            if verify and len(part) != COUNTS[name]:
                raise DataError(f"{annotations / name}.json holds {len(part)} people; expected {COUNTS[name]}")
        return parts, "MPII, the split of Simple Baselines"
    for file in (folder / OFFICIAL, annotations / OFFICIAL, folder / "mpii_human_pose_v1_u12_2" / OFFICIAL):
        if file.exists():
            people = list(_of_release(file, crop))
            late = [hash_share(person.file.name) < fraction for person in people]
            parts = [[p for p, held in zip(people, late, strict=True) if held is part] for part in (False, True)]
            return parts, f"MPII, {fraction:.0%} of the training pictures held out by a hash of the name"
    names = listed(sorted(entry.name for entry in folder.iterdir()), 8)
    raise DataError(f"MPII was looked for in {folder}, which holds {names}; {LAYOUTS}")


def _of_json(file: Path, crop: _Crop, heads: Sequence[float] | None) -> list[Person]:
    entries = read_strict(file)
    if not isinstance(entries, list):
        raise DataError(f"{file} holds a {type(entries).__name__}; expected a list of people")
    if heads is not None and len(heads) != len(entries):
        raise DataError(f"{file} holds {len(entries)} people and gt_valid.mat the head boxes of {len(heads)}")
    people, seen = [], dict[str, int]()
    for row, entry in enumerate(entries):
        try:
            name = entry["image"]
            joints = [[*xy, visible] for xy, visible in zip(entry["joints"], entry["joints_vis"], strict=True)]
            place = seen[name] = seen.get(name, -1) + 1
            head = math.nan if heads is None else heads[row]
            people.append(crop.person(str(name), place, entry["center"], float(entry["scale"]), joints, head))
        except (KeyError, TypeError, ValueError, IndexError, OverflowError, RuntimeError) as error:
            raise DataError(
                f"person {row} of {file} is not as expected ({type(error).__name__}: {error}): image, center [2], "
                "scale, joints [16, 2] and joints_vis [16]"
            ) from error
        if len(joints) != len(JOINTS):
            raise DataError(f"person {row} of {file} has {len(joints)} joints; expected {len(JOINTS)}")
    return people


def _head_sizes(file: Path) -> list[float]:
    boxes: Any = read_mat(file, LAYOUTS, variable_names=["headboxes_src"]).get("headboxes_src")
    if (
        not isinstance(boxes, np.ndarray)
        or boxes.dtype.kind not in "uif"
        or boxes.ndim != 3
        or boxes.shape[:2] != (2, 2)
    ):
        raise DataError(f"{file} cannot be read: expected is headboxes_src [2, 2, people]; {LAYOUTS}")
    corners = boxes.astype(np.float64)
    return [float(value) for value in MPII_HEAD_BOX * np.linalg.norm(corners[1] - corners[0], axis=0)]


def _of_release(file: Path, crop: _Crop) -> Iterator[Person]:
    """Everybody of the official annotation who has joints; those of the test pictures have none."""
    content = read_mat(file, LAYOUTS, struct_as_record=False, squeeze_me=True)
    try:
        release = content["RELEASE"]
        pictures, training = np.atleast_1d(release.annolist), np.atleast_1d(release.img_train)
    except (KeyError, AttributeError) as error:
        raise DataError(f"{file} cannot be read: {type(error).__name__}: {error}; {LAYOUTS}") from error
    if len(pictures) != len(training):
        raise DataError(f"{file} has {len(pictures)} pictures and img_train of {len(training)}; {LAYOUTS}")
    for row, (picture, for_training) in enumerate(zip(pictures, training, strict=True)):
        people = np.atleast_1d(getattr(picture, "annorect", np.empty(0))) if for_training else ()
        for place, someone in enumerate(people):
            try:
                person = _of_record(picture, place, someone, crop)
            except (AttributeError, TypeError, ValueError, IndexError, OverflowError, RuntimeError) as error:
                where = f"person {place} of picture {row} in {file}"
                raise DataError(f"{where} is not as expected ({type(error).__name__}: {error})") from error
            if person is not None:
                yield person


def _of_record(picture: Any, place: int, someone: Any, crop: _Crop) -> Person | None:
    points = np.atleast_1d(getattr(getattr(someone, "annopoints", None), "point", np.empty(0)))
    centre: Any = getattr(someone, "objpos", None)
    if not len(points) or not hasattr(centre, "x"):
        return None
    corners = [float(getattr(someone, name, math.nan)) for name in ("x1", "y1", "x2", "y2")]
    head = MPII_HEAD_BOX * math.hypot(corners[2] - corners[0], corners[3] - corners[1])
    joints = _joints({int(point.id): (float(point.x), float(point.y)) for point in points})
    at = (float(centre.x), float(centre.y))
    return crop.person(str(picture.image.name), place, at, float(someone.scale), joints, head)


def _joints(points: Mapping[int, tuple[float, float]]) -> list[list[float]]:
    """A joint is visible where it is annotated, hidden or not: the reference's `joints_vis`."""
    return [[*points.get(joint, (0.0, 0.0)), float(joint in points)] for joint in range(len(JOINTS))]


def _check_pictures(folder: Path, people: Sequence[Any]) -> None:
    named = {person.file for person in people}
    missing = sorted(file.name for file in named if not os.path.isfile(file))
    if missing:
        raise DataError(
            f"{folder / 'images'} lacks {len(missing)} of {len(named)} pictures: {listed(missing)}; {LAYOUTS}. Pass "
            "dataset_options {verify: false} to go on without them"
        )
