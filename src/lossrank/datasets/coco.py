"""A person's own poses, as COCO keypoint JSON: what most labelling tools export."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lossrank.datasets.base import hash_share, pixel_statistics
from lossrank.datasets.pose import IN_MEMORY, Box, Person, PoseData, mirror_pairs, people_pool
from lossrank.decoding import white_of
from lossrank.errors import ConfigError, DataError, listed
from lossrank.ledger import SampleId
from lossrank.names import PictureFolder, normal
from lossrank.requirements import require_share
from lossrank.strict_json import finite, read_strict

__all__ = ["load_coco_keypoints"]

EXPECTED = (
    'expected is {"images": [{"id", "file_name"}], "annotations": [{"id", "image_id", "keypoints": [x, y, v, ...]}], '
    '"categories": [{"keypoints": [names]}]} as on https://cocodataset.org/#format-data'
)
PARTS = ("images", "annotations", "categories")
HEAD_OF_BOX = 0.2  # without a head: a fifth of the longer side, about a head of a person that stands


def load_coco_keypoints(
    path: Path | None,
    *,
    images: Path | str | None = None,
    test: Path | str | None = None,
    test_fraction: float = 0.2,
    head: Sequence[str] = (),
    image_size: int = 128,
    max_memory: int = IN_MEMORY,
    workers: int = 0,
) -> PoseData:
    """People of a COCO keypoint file, cut out square around their joints. Ids are `FILE_NAME/ANNOTATION_ID`.

    Held out are the people of `test`, or of `test_fraction` of the pictures, decided by a hash of the file's name.
    Keypoints with v = 0 are unseen, 1 and 2 train alike. Coordinates are in pixels of the picture, upright as its EXIF
    data say. Crowds (`iscrowd`) and people without keypoints are left out. People whose picture is missing or cannot be
    read, and annotations with a box or keypoints that are no numbers or lie far outside their picture, are left out and
    listed in the pools' `unreadable`.

    Args:
        path: the JSON file.
        images: the folder that `file_name` starts from; the JSON file's own if not given.
        test: another such file, its pictures in the same folder.
        head: names of the two keypoints whose distance is the head size of PCKh, such as `left_ear` and `right_ear`;
            not given, it is a fifth of the longer side of the person's box.
        image_size: side of a crop in pixels.
        max_memory: bytes up to which crops are made once and kept; beyond, they are made for each batch.
        workers: processes that read ahead where crops are made for each batch.

    Raises:
        DataError: no such file, its content is not as expected, or an image id stands for two files.
        ConfigError: a fraction outside 0..1, or a head of keypoints that do not exist.
    """
    if path is None:
        raise DataError(f"the file needs to be told (data: FILE.json); {EXPECTED}")
    require_share("test_fraction", test_fraction)
    folder = Path(images) if images else path.parent
    content = _Content(path)
    ends = _ends(head, content.joints)
    people = content.people(folder, annotated_head=ends is None)
    if test is None:
        late = {sample for sample in people if hash_share(sample.rpartition("/")[0]) < test_fraction}
        parts = [[p for i, p in people.items() if (i in late) is held] for held in (False, True)]
    else:
        other = _Content(Path(test))
        _require_same_joints(other, content)
        parts = [list(people.values()), list(other.people(folder, annotated_head=ends is None).values())]
    _require_people(parts, path)
    white = white_of(dict.fromkeys(person.file for part in parts for person in part))
    train, held_out = (people_pool(part, image_size, max_memory, workers, white) for part in parts)
    few = torch.cat([batch.inputs for batch in train.batches(train.ids[:2000], 500)])
    return PoseData(
        train,
        held_out,
        content.joints,
        *pixel_statistics(few),
        (f"poses of {path.name}; head size: {' to '.join(head) if head else 'a fifth of the box'}",),
        pairs=mirror_pairs(content.joints),
        links=content.links,
        head=ends,
    )


def _require_same_joints(test: _Content, content: _Content) -> None:
    if test.joints != content.joints:
        theirs, ours = listed(test.joints, 20), listed(content.joints, 20)
        raise DataError(f"{test.path} has the keypoints {theirs}; {content.path} has {ours}")


def _require_people(parts: Sequence[Sequence[Person]], path: Path) -> None:
    """Check that there are usable people to choose from, the first part, and to measure on, the second."""
    usable = [sum(person.trouble is None for person in part) for part in parts]
    if not all(usable):
        bad = [f"{person.id} ({person.trouble})" for part in parts for person in part if person.trouble is not None]
        raise DataError(
            f"{path} leaves {usable[0]} people to choose from and {usable[1]} to measure on"
            + (f"; {len(bad)} annotations are left out: {listed(bad, 3)}" if bad else "")
        )


class _Content:
    """A COCO keypoint file, its parts checked. What no annotation with keypoints needs may be anything."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content = read_strict(path)
        if not isinstance(content, Mapping) or not all(isinstance(content.get(part), list) for part in PARTS):
            raise DataError(f"{path} is no COCO keypoint file: it lacks one of the lists {listed(PARTS)}; {EXPECTED}")
        self.files = _files(content["images"], path)
        self.annotations = [
            (row, a)
            for row, a in enumerate(content["annotations"])
            if isinstance(a, Mapping) and a.get("keypoints") and not a.get("iscrowd")
        ]
        self.joints, skeleton = self._category(content["categories"])
        # For pictures only: a link of a joint that does not exist is not worth a refusal.
        ends = [
            link for link in skeleton if isinstance(link, list) and len(link) == 2 and set(map(type, link)) == {int}
        ]
        places = range(1, len(self.joints) + 1)
        self.links = tuple((a - 1, b - 1) for a, b in ends if a in places and b in places)

    def _category(self, categories: Sequence[Any]) -> tuple[tuple[str, ...], list[Any]]:
        """Names of the keypoints, and the skeleton, of the categories that annotations with keypoints have."""
        known = [
            c for c in categories if isinstance(c, Mapping) and isinstance(c.get("keypoints"), list) and c["keypoints"]
        ]
        used = [a.get("category_id") for _, a in self.annotations]
        kinds = [c for c in known if isinstance(c.get("id"), int | str) and c["id"] in used] or known
        names = {tuple(map(str, c["keypoints"])) for c in kinds}
        if len(names) != 1:
            raise DataError(f"{self.path} has {len(names)} kinds of keypoints; one is needed; {EXPECTED}")
        (joints,) = names
        if len(set(joints)) < len(joints):
            raise DataError(f"{self.path}: keypoints must have different names, got {listed(joints, 30)}")
        skeleton = kinds[0].get("skeleton")
        return joints, skeleton if isinstance(skeleton, list) else []

    def people(self, folder: Path, *, annotated_head: bool) -> dict[SampleId, Person]:
        """Everybody by id; those whose annotation is bad with the reason."""
        found: dict[SampleId, Person] = {}
        pictures = PictureFolder(folder)
        for row, annotation in self.annotations:
            image = annotation.get("image_id")
            name = self.files.get(image) if isinstance(image, int | str) else None
            if name is None:
                raise DataError(f"annotation {row} of {self.path}: no image has the id {image!r}")
            number = annotation.get("id", row)
            sample = f"{name}/{str(number)[:40]}"
            if sample in found:
                raise DataError(f"two annotations of {self.path} have the id {number!r} in {name}")
            try:
                joints = self._joints(annotation)
                box, longer = _box(annotation, joints)
                head = longer * HEAD_OF_BOX if annotated_head else None
                found[sample] = Person(sample, pictures.file(name), joints, box, head)
            except BadAnnotationError as why:
                nothing = torch.zeros(len(self.joints), 3)
                head = math.nan if annotated_head else None
                found[sample] = Person(sample, pictures.file(name), nothing, Box(0, 0, 1), head, str(why))
        return found

    def _joints(self, annotation: Mapping[str, Any]) -> torch.Tensor:
        """[joints, 3] x, y, visibility 0 or 1."""
        values = annotation["keypoints"]
        if not isinstance(values, list) or len(values) != 3 * len(self.joints):
            found = f"{len(values)} numbers" if isinstance(values, list) else f"a {type(values).__name__}"
            raise DataError(
                f"the keypoints of annotation {annotation.get('id')!r} in {self.path} are {found}; expected x, y, v "
                f"for each of {len(self.joints)}"
            )
        numbers = [math.nan if v is None else finite(v) for v in values]
        for value, number in zip(values, numbers, strict=True):
            if number is None and not _is_nan(value):
                raise BadAnnotationError(f"the keypoint {str(value)[:40]} is no finite number")
        joints = torch.tensor([math.nan if n is None else n for n in numbers], dtype=torch.float64).view(-1, 3)
        joints[:, 2] = ((joints[:, 2] > 0) & joints[:, :2].isfinite().all(1)).double()
        return joints.float()


class BadAnnotationError(Exception):
    """An annotation that cannot be used, with the reason."""


def _files(images: Sequence[Any], path: Path) -> dict[int | str, str]:
    """File names by image id.

    Raises:
        DataError: two files have one id, as in files that were merged without numbering them again.
    """
    files: dict[int | str, str] = {}
    for image in images:
        if not isinstance(image, Mapping) or not isinstance(image.get("file_name"), str):
            continue
        number, name = image.get("id"), image["file_name"]
        if isinstance(number, bool) or not isinstance(number, int | str):
            continue
        if number in files and normal(files[number]) != normal(name):
            raise DataError(
                f"{path}: the image id {number!r} stands for {files[number]} and for {name}; ids must be different, "
                "so files that are merged must be numbered again"
            )
        files[number] = name
    return files


def _box(annotation: Mapping[str, Any], joints: torch.Tensor) -> tuple[Box | None, float]:
    """The square to show (None: as the joints say), and the longer side of the person; NaN where nothing tells."""
    xy = joints[joints[:, 2] > 0, :2]
    longer = float((xy.amax(0) - xy.amin(0)).max()) if len(xy) > 1 else math.nan
    given = annotation.get("bbox")
    if given is None or given == []:
        return None, longer
    numbers = [finite(value) for value in given] if isinstance(given, list) else []
    if len(numbers) != 4 or None in numbers:
        raise BadAnnotationError(f"the box must be [left, top, width, height], got {str(given)[:60]}")
    left, top, width, height = (number or 0.0 for number in numbers)
    if min(width, height) <= 0:
        return None, longer
    side = 1.25 * max(width, height)
    return Box(left + width / 2 - side / 2, top + height / 2 - side / 2, side), max(width, height)


def _ends(head: Sequence[str], joints: Sequence[str]) -> tuple[int, int] | None:
    if not head:
        return None
    if len(head) != 2 or any(name not in joints for name in head):
        raise ConfigError(f"head must be two of the keypoints {listed(joints, 30)}, got {list(head)}")
    return joints.index(head[0]), joints.index(head[1])


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)
