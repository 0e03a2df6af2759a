"""COCO keypoint JSON: one person in each picture, in pixels of the picture; predictions carry a `score`.

Beyond COCO, answers may carry `source` and `time`, a skipped image its reason as `skip`, and an annotation as
`unplaced` the joints that have no place: COCO writes them as 0, 0, 0, like a joint in the corner that is not labelled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lossrank.errors import DataError
from lossrank.exchange.answers import Answers, Given, Question, Vocabulary, shown, skip_reason, source_of
from lossrank.folder import write_atomic
from lossrank.strict_json import read_strict

__all__ = ["read_coco", "write_answer_coco", "write_coco"]

Found = TypeVar("Found")


def write_coco(path: Path, questions: Sequence[Question], vocabulary: Vocabulary, pictures: Path) -> None:
    """Pictures in the order of the batch; what the model says of them as annotations with a score."""
    images = [{"id": q.rank, "file_name": q.sample, **_size(pictures / q.sample)} for q in questions]
    annotations = [
        _annotation(q.rank, q.prediction) | {"score": q.confidence} for q in questions if q.prediction is not None
    ]
    _write(path, images, annotations, vocabulary)


def write_answer_coco(path: Path, answers: Sequence[Given], vocabulary: Vocabulary, pictures: Path) -> None:
    images, annotations = [], []
    for number, given in enumerate(answers, 1):
        image = {"id": number, "file_name": given.sample, **_size(pictures / given.sample)}
        who = {"source": given.source, "time": given.time}
        images.append(image if given.skipped is None else image | {"skip": given.skipped} | who)
        if given.skipped is None:
            unplaced = [name for name, joint in zip(vocabulary.names, given.answer, strict=True) if None in joint]
            annotations.append(_annotation(number, given.answer) | {"unplaced": unplaced} | who)
    _write(path, images, annotations, vocabulary)


def read_coco(path: Path, vocabulary: Vocabulary) -> Answers:
    """The annotations without a score: one that still has its `score` is the model's own, and no answer.

    Keypoints are matched with the joints by name. What no answer needs may be anything: other categories, boxes,
    keypoints that are no joints of the project.

    Raises:
        DataError: it is no COCO keypoint file, or no category of it has all joints.
    """
    content = read_strict(path)
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in parts):
        raise DataError(f"{path} is no COCO keypoint file: expected are lists of {', '.join(parts)}")
    images, annotations, categories = (content[part] for part in parts)
    orders = _orders(path, categories, vocabulary)
    answers = Answers()
    files = _files(images, answers)
    _read_skips(images, files, answers)
    found: list[Given] = []
    for row, annotation in enumerate(annotations):
        where = f"annotation {row}"
        try:
            if isinstance(annotation, dict) and _is_answer(annotation):
                found.append(_given(annotation, where, files, orders, vocabulary))
        except DataError as error:
            answers.broken.append(f"{where}: {error}")
    # A person without a marked joint beside one who has some is somebody whom nobody marked.
    marked = {given.sample for given in found if _marks(given)}
    answers.given.extend(given for given in found if given.sample not in marked or _marks(given))
    return answers


def _files(images: Sequence[Any], answers: Answers) -> dict[Any, str]:
    """File names by the ids of images. An id of two files, as merged files have, is nobody's."""
    files: dict[Any, str] = {}
    twice: dict[Any, set[str]] = {}
    for row, image in enumerate(images):
        number = image.get("id") if isinstance(image, dict) else None
        name = image.get("file_name") if isinstance(image, dict) else None
        if isinstance(number, bool) or not isinstance(number, int | str) or not isinstance(name, str) or not name:
            answers.broken.append(f"image {row}: expected are an id and a file_name")
        elif files.setdefault(number, name) != name:
            twice.setdefault(number, {files[number]}).add(name)
    for number, names in twice.items():
        del files[number]
        answers.broken.append(f"the image id {shown(number)} stands for {' and '.join(sorted(names))}")
    return files


def _read_skips(images: Sequence[Any], files: Mapping[Any, str], answers: Answers) -> None:
    names = set(files.values())
    for row, image in enumerate(images):
        if isinstance(image, dict) and image.get("skip") is not None and image.get("file_name") in names:
            try:
                reason = skip_reason(image["skip"])
            except DataError as error:
                answers.broken.append(f"image {row}: {error}")
            else:
                if reason:
                    who = source_of(image.get("source"))
                    answers.given.append(Given(image["file_name"], None, f"image {row}", reason, who))


def _orders(path: Path, categories: Sequence[Any], vocabulary: Vocabulary) -> dict[Any, list[int] | str]:
    """By the id of a category, the place of each joint among its keypoints, or why it has none."""
    orders: dict[Any, list[int] | str] = {}
    for category in categories:
        names = category.get("keypoints") if isinstance(category, dict) else None
        number = category.get("id") if isinstance(category, dict) else None
        if not names or not isinstance(names, list) or not isinstance(number, int | str):
            continue
        known: list[Any] = []
        for name in names:
            try:
                known.append(vocabulary.name_of(name))
            except DataError:
                known.append(None)
        missing = [joint for joint in vocabulary.names if known.count(joint) != 1]
        order: list[int] | str = (
            [known.index(joint) for joint in vocabulary.names]
            if not missing
            else (f"its keypoints {shown(names)} do not have each of the project's joints once: {', '.join(missing)}")
        )
        if number in orders and orders[number] != order:
            order = "two categories have its id"
        orders[number] = order
    reasons = [order for order in orders.values() if isinstance(order, str)]
    if len(reasons) == len(orders):
        reason = reasons[0] if reasons else "no category has keypoints"
        raise DataError(f"{path}: {reason}; the project's joints are {', '.join(vocabulary.names)}")
    return orders


def _is_answer(annotation: Mapping[str, Any]) -> bool:
    return annotation.get("keypoints") is not None and annotation.get("score") is None and not annotation.get("iscrowd")


def _given(
    annotation: Mapping[str, Any],
    where: str,
    files: Mapping[Any, str],
    orders: Mapping[Any, list[int] | str],
    vocabulary: Vocabulary,
) -> Given:
    file = _looked_up(files, annotation.get("image_id"), "image")
    order = _looked_up(orders, annotation.get("category_id"), "category with keypoints")
    if isinstance(order, str):
        raise DataError(order)
    flat = annotation["keypoints"]
    if not isinstance(flat, list) or len(flat) % 3 or len(flat) <= 3 * max(order):
        raise DataError(f"keypoints are {shown(flat)}; expected are x, y, v for each of its category's")
    unplaced = annotation.get("unplaced")
    joints = []
    for name, place in zip(vocabulary.names, order, strict=True):
        joint = flat[3 * place : 3 * place + 3]
        nowhere = isinstance(unplaced, list) and name in unplaced and joint == [0, 0, 0]
        joints.append([None, None, 0] if nowhere else joint)
    try:
        return Given(file, vocabulary.checked(joints), where, None, source_of(annotation.get("source")))
    except DataError as error:
        raise DataError(f"{file}: {error}") from None


def _looked_up(known: Mapping[Any, Found], number: Any, what: str) -> Found:
    if not isinstance(number, int | str) or number not in known:
        raise DataError(f"no {what} has the id {shown(number)}")
    return known[number]


def _marks(given: Given) -> bool:
    return any(joint[2] for joint in given.answer)


def _annotation(number: int, joints: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "keypoints": [v if v is not None else 0 for joint in joints for v in joint],
        "num_keypoints": sum(1 for joint in joints if joint[2]),
        "iscrowd": 0,
    }


def _write(path: Path, images: Sequence[Any], annotations: Sequence[Any], vocabulary: Vocabulary) -> None:
    categories = [{"id": 1, "name": "person", "keypoints": list(vocabulary.names), "skeleton": []}]
    write_atomic(path, json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def _size(file: Path) -> dict[str, int]:
    from lossrank.decoding import UnreadableSample, upright_size  # NumPy and Pillow: --help needs none

    try:
        width, height = upright_size(file)
    except UnreadableSample:  # the size is a courtesy
        return {}
    return {"width": width, "height": height}
