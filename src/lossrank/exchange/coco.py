"""COCO keypoint JSON: one person in each picture, in pixels of the picture; predictions carry a `score`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lossrank.errors import DataError
from lossrank.exchange.answers import Answers, Given, Question, Vocabulary
from lossrank.folder import write_atomic
from lossrank.strict_json import read_text

__all__ = ["read_coco", "write_coco"]


def write_coco(path: Path, questions: Sequence[Question], vocabulary: Vocabulary, pictures: Path) -> None:
    """Pictures in the order of the batch; what the model says of them as annotations with a score."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for q in questions:
        images.append({"id": q.rank, "file_name": q.sample, **_size(pictures / q.sample)})
        if q.prediction is not None:
            flat = [v if v is not None else 0 for joint in q.prediction for v in joint]
            seen = sum(1 for joint in q.prediction if joint[2])
            annotations.append(
                {
                    "id": q.rank,
                    "image_id": q.rank,
                    "category_id": 1,
                    "keypoints": flat,
                    "num_keypoints": seen,
                    "score": q.confidence,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 1, "name": "person", "keypoints": list(vocabulary.names), "skeleton": []}]
    write_atomic(path, json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def read_coco(path: Path, vocabulary: Vocabulary) -> Answers:
    """The annotations without a score: one that still has its `score` is the model's own, and no answer.

    Raises:
        DataError: it is no COCO keypoint file, or its keypoints are not the project's joints, in order.
    """
    try:
        content = json.loads(read_text(path))
        files = {image["id"]: str(image["file_name"]) for image in content["images"]}
        kinds = {tuple(c["keypoints"]) for c in content["categories"] if c.get("keypoints")}
        annotations = list(content["annotations"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no COCO keypoint file ({type(error).__name__}: {error})") from None
    if kinds != {vocabulary.names}:
        raise DataError(f"{path} has the keypoints {sorted(kinds)}; the project's joints are {vocabulary.names}")
    answers = Answers()
    for row, annotation in enumerate(annotations):
        where = f"annotation {row}"
        try:
            if "keypoints" in annotation and annotation.get("score") is None and not annotation.get("iscrowd"):
                answers.given.append(Given(files[annotation["image_id"]], _joints(annotation, vocabulary), where))
        except KeyError as error:
            answers.broken.append(f"{where}: no image has the id {error}")
        except (DataError, TypeError, AttributeError) as error:
            answers.broken.append(f"{where}: {error}")
    return answers


def _joints(annotation: dict[str, Any], vocabulary: Vocabulary) -> Any:
    flat = annotation["keypoints"]
    if not isinstance(flat, list) or len(flat) != 3 * len(vocabulary.names):
        raise DataError(f"keypoints are not x, y, v for each of {len(vocabulary.names)} joints")
    return vocabulary.checked([flat[place : place + 3] for place in range(0, len(flat), 3)])


def _size(file: Path) -> dict[str, int]:
    from lossrank.decoding import UnreadableSample, upright_size

    try:
        width, height = upright_size(file)
    except UnreadableSample:  # the picture was read a moment ago; its size is a courtesy
        return {}
    return {"width": width, "height": height}
