"""A person's own poses, as COCO keypoint JSON: what most labelling tools export."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lossrank.datasets.base import hash_share, pixel_statistics
from lossrank.datasets.pose import IN_MEMORY, Box, Person, PoseData, mirror_pairs, people_pool
from lossrank.errors import ConfigError, DataError, listed
from lossrank.ledger import SampleId
from lossrank.regular import read_file

__all__ = ["load_coco_keypoints"]

EXPECTED = (
    'expected is {"images": [{"id", "file_name"}], "annotations": [{"id", "image_id", "keypoints": [x, y, v, ...]}], '
    '"categories": [{"keypoints": [names]}]} as on https://cocodataset.org/#format-data'
)
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
    Keypoints with v = 0 are unseen, 1 and 2 train alike. Crowds (`iscrowd`) are left out. People whose picture is
    missing or cannot be read are left out and listed in the pools' `unreadable`.

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
        DataError: no such file, or its content is not as expected.
        ConfigError: a fraction outside 0..1, or a head of keypoints that do not exist.
    """
    if path is None:
        raise DataError(f"the file needs to be told (data: FILE.json); {EXPECTED}")
    if not 0 < test_fraction < 1:
        raise ConfigError(f"test_fraction is {test_fraction}; possible is a number between 0 and 1")
    folder = Path(images) if images else path.parent
    content = _Content(path)
    ends = _ends(head, content.joints)
    people = content.people(folder, annotated_head=ends is None)
    if test is None:
        late = {sample for sample in people if hash_share(sample.rpartition("/")[0]) < test_fraction}
        parts = [[p for i, p in people.items() if (i in late) is held] for held in (False, True)]
    else:
        other = _Content(Path(test))
        if other.joints != content.joints:
            theirs, ours = listed(other.joints, 20), listed(content.joints, 20)
            raise DataError(f"{test} has the keypoints {theirs}; {path} has {ours}")
        parts = [list(people.values()), list(other.people(folder, annotated_head=ends is None).values())]
    if not all(parts):
        raise DataError(f"{path} leaves {len(parts[0])} people to choose from and {len(parts[1])} to measure on")
    train, held_out = (people_pool(part, image_size, max_memory, workers) for part in parts)
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


class _Content:
    """A COCO keypoint file, its parts checked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = json.loads(read_file(path))
            self.files = {entry["id"]: str(entry["file_name"]) for entry in content["images"]}
            self.annotations = [a for a in content["annotations"] if "keypoints" in a and not a.get("iscrowd")]
            categories = [c for c in content["categories"] if c.get("keypoints")]
            kinds = [tuple(map(str, c["keypoints"])) for c in categories]
            links = [(int(a) - 1, int(b) - 1) for a, b in (categories[0].get("skeleton") or ())] if categories else []
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}; {EXPECTED}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is no COCO keypoint file ({type(error).__name__}: {error}); {EXPECTED}") from error
        if len(set(kinds)) != 1:
            raise DataError(f"{path} has {len(set(kinds))} kinds of keypoints; one is needed; {EXPECTED}")
        self.joints = kinds[0]
        # For pictures only: a link of a joint that does not exist is not worth a refusal.
        self.links = tuple(link for link in links if all(0 <= end < len(self.joints) for end in link))

    def people(self, folder: Path, *, annotated_head: bool) -> dict[SampleId, Person]:
        """Everybody by id."""
        found: dict[SampleId, Person] = {}
        for row, annotation in enumerate(self.annotations):
            name = self.files.get(annotation.get("image_id"))
            if name is None:
                raise DataError(f"annotation {row} of {self.path}: no image has the id {annotation.get('image_id')!r}")
            sample = f"{name}/{annotation.get('id', row)}"
            if sample in found:
                raise DataError(f"two annotations of {self.path} have the id {annotation.get('id')!r} in {name}")
            joints = self._joints(annotation, sample)
            box, longer = _box(annotation, joints)
            found[sample] = Person(sample, folder / name, joints, box, longer * HEAD_OF_BOX if annotated_head else None)
        return found

    def _joints(self, annotation: Mapping[str, Any], sample: SampleId) -> torch.Tensor:
        values = annotation["keypoints"]
        if not isinstance(values, list) or len(values) != 3 * len(self.joints):
            found = f"{len(values)} numbers" if isinstance(values, list) else f"a {type(values).__name__}"
            raise DataError(
                f"the keypoints of {sample} in {self.path} are {found}; expected x, y, v for each of {len(self.joints)}"
            )
        try:
            joints = torch.tensor([math.nan if v is None else float(v) for v in values]).view(-1, 3)
        except (TypeError, ValueError) as error:
            raise DataError(f"the keypoints of {sample} in {self.path} are not all numbers: {error}") from error
        joints[:, 2] = (joints[:, 2] > 0) & joints[:, :2].isfinite().all(1)
        return joints


def _box(annotation: Mapping[str, Any], joints: torch.Tensor) -> tuple[Box | None, float]:
    """The square to show (None: as the joints say), and the longer side of the person; NaN where nothing tells."""
    xy = joints[joints[:, 2] > 0, :2]
    longer = float((xy.amax(0) - xy.amin(0)).max()) if len(xy) > 1 else math.nan
    given = annotation.get("bbox")
    if not (isinstance(given, list) and len(given) == 4 and min(given[2:]) > 0):
        return None, longer
    left, top, width, height = map(float, given)
    side = 1.25 * max(width, height)
    return Box(left + width / 2 - side / 2, top + height / 2 - side / 2, side), max(width, height)


def _ends(head: Sequence[str], joints: Sequence[str]) -> tuple[int, int] | None:
    if not head:
        return None
    if len(head) != 2 or any(name not in joints for name in head):
        raise ConfigError(f"head is {list(head)}; possible are two of the keypoints {listed(joints, 30)}")
    return joints.index(head[0]), joints.index(head[1])
