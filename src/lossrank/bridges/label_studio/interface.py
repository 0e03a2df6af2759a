"""What a person sees in Label Studio for each task, and answers between its form and ours. Nothing here needs torch.

Label Studio measures places in percent of the upright picture's width and height, from its left upper corner; our
answers count pixels from the middle of the first one: x = percent / 100 * width - 0.5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from lossrank.errors import DataError, listed
from lossrank.exchange import Vocabulary

__all__ = ["FORMS", "Form", "Size", "size_of"]

Size = tuple[int, int]
"""Width and height of an upright picture, in pixels."""

ANSWER, IMAGE = "answer", "image"  # names of the two tags; results refer to them
DOT = 0.6  # width of a drawn point, percent of the picture


@dataclass(frozen=True)
class Form:
    """One task's interface."""

    config: Callable[[Vocabulary], str]
    """The labelling interface, in Label Studio's XML."""
    told: Callable[[Any, Size, Vocabulary], list[dict[str, Any]]]
    """A prediction, in the form of an answer, as the `result` of a pre-annotation."""
    heard: Callable[[Sequence[Mapping[str, Any]], Size, Vocabulary], Any]
    """The `result` of an annotation as an answer; DataError where it is none."""
    measured: bool = False
    """Whether places in the picture matter, so that its size is needed."""
    may_be_empty: bool = False
    """Whether a submission without any mark is an answer."""


def size_of(picture: Path) -> Size:
    """Of an upright picture.

    Raises:
        DataError: it is gone or damaged.
    """
    from lossrank.datasets.images import upright_size
    from lossrank.sources import UnreadableSample

    try:
        return upright_size(picture)
    except (OSError, UnreadableSample) as error:
        raise DataError(f"its picture cannot be read: {error}") from None


def _view(control: str) -> str:
    return f'<View>\n  <Image name="{IMAGE}" value="$image" zoom="true" zoomControl="true"/>\n  {control}\n</View>'


def _choices(vocabulary: Vocabulary) -> str:
    options = "".join(f"<Choice value={quoteattr(name)}/>" for name in vocabulary.names)
    return _view(
        f'<Choices name="{ANSWER}" toName="{IMAGE}" choice="single" required="true" showInline="true">'
        f"{options}</Choices>"
    )


def _joints(vocabulary: Vocabulary) -> str:
    labels = "".join(f"<Label value={quoteattr(name)}/>" for name in vocabulary.names)
    return _view(f'<KeyPointLabels name="{ANSWER}" toName="{IMAGE}">{labels}</KeyPointLabels>')


def _points(vocabulary: Vocabulary) -> str:
    return _view(f'<KeyPoint name="{ANSWER}" toName="{IMAGE}"/>')


def _number(vocabulary: Vocabulary) -> str:
    return _view(f'<Number name="{ANSWER}" toName="{IMAGE}" required="true"/>')


def _region(kind: str, value: Mapping[str, Any], size: Size | None = None, name: str = "r0") -> dict[str, Any]:
    found: dict[str, Any] = {"id": name, "from_name": ANSWER, "to_name": IMAGE, "type": kind, "value": dict(value)}
    if size is not None:
        found |= {"original_width": size[0], "original_height": size[1], "image_rotation": 0}
    return found


def _told_class(prediction: Any, size: Size, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    return [_region("choices", {"choices": [prediction]})] if prediction in vocabulary.names else []


def _told_number(prediction: Any, size: Size, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    return [_region("number", {"number": prediction})]


def _told_joints(prediction: Any, size: Size, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    return [
        _region("keypointlabels", {**_percent(x, y, size), "keypointlabels": [name]}, size, f"r{row}")
        for row, (name, (x, y, seen)) in enumerate(zip(vocabulary.names, prediction, strict=True))
        if seen and x is not None and y is not None
    ]


def _told_points(prediction: Any, size: Size, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """The points that go with a count; a mere count cannot be drawn."""
    points = prediction.get("points", ()) if isinstance(prediction, Mapping) else prediction
    if not isinstance(points, Sequence):
        return []
    return [_region("keypoint", _percent(x, y, size), size, f"r{row}") for row, (x, y) in enumerate(points)]


def _heard_class(result: Sequence[Mapping[str, Any]], size: Size, vocabulary: Vocabulary) -> Any:
    chosen = [name for value in _values(result, "choices") for name in value["choices"]]
    if len(chosen) != 1:
        raise DataError(f"{len(chosen)} classes were chosen ({listed(chosen)}); expected is one")
    return vocabulary.checked(chosen[0])


def _heard_number(result: Sequence[Mapping[str, Any]], size: Size, vocabulary: Vocabulary) -> Any:
    numbers = [value["number"] for value in _values(result, "number")]
    if len(numbers) != 1:
        raise DataError(f"{len(numbers)} numbers were given; expected is one")
    return vocabulary.checked(numbers[0])


def _heard_joints(result: Sequence[Mapping[str, Any]], size: Size, vocabulary: Vocabulary) -> Any:
    """Every marked joint is visible; what was not marked is not seen."""
    joints: dict[str, list[float | None]] = {}
    for value in _values(result, "keypointlabels"):
        for name in value["keypointlabels"]:
            if name not in vocabulary.names:
                raise DataError(f"{name!r} is none of the joints {listed(vocabulary.names, 20)}")
            if name in joints:
                raise DataError(f"joint {name!r} was marked twice")
            joints[name] = [*_pixels(value, size), 2]
    return vocabulary.checked([joints.get(name, [None, None, 0]) for name in vocabulary.names])


def _heard_points(result: Sequence[Mapping[str, Any]], size: Size, vocabulary: Vocabulary) -> Any:
    return vocabulary.checked([_pixels(value, size) for value in _values(result, "keypoint")])


def _values(result: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    """The values of our control's regions; anything else that a changed interface may hold is none of our answer."""
    return [part["value"] for part in result if part.get("from_name") == ANSWER and part.get("type") == kind]


def _percent(x: float, y: float, size: Size) -> dict[str, float]:
    places = (100 * (v + 0.5) / whole for v, whole in zip((x, y), size, strict=True))
    across, down = (round(min(100.0, max(0.0, place)), 4) for place in places)
    return {"x": across, "y": down, "width": DOT}


def _pixels(value: Mapping[str, Any], size: Size) -> list[float | None]:
    return [round(float(value[axis]) / 100 * whole - 0.5, 2) for axis, whole in zip("xy", size, strict=True)]


FORMS: Mapping[str, Form] = {
    "classification": Form(_choices, _told_class, _heard_class),
    "pose": Form(_joints, _told_joints, _heard_joints, measured=True, may_be_empty=True),
    "counting": Form(_points, _told_points, _heard_points, measured=True, may_be_empty=True),
    "regression": Form(_number, _told_number, _heard_number),
}
"""By the name of the task."""
