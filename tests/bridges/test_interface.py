"""Answers between Label Studio's form and ours, worked out by hand."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from lossrank.bridges.label_studio.interface import FORMS
from lossrank.errors import DataError
from lossrank.exchange import VOCABULARIES, Vocabulary

SIZE = (200, 50)
POSE = Vocabulary("pose", ("left <ear>", "nose", "tail"))
CLASSES = Vocabulary("classification", ('cat & "dog"', "bird"))


def names(vocabulary: Vocabulary, tag: str) -> list[str | None]:
    """What the interface offers."""
    parsed = ElementTree.fromstring(FORMS[vocabulary.task].config(vocabulary))
    return [element.get("value") for element in parsed.iter(tag)]


def point(kind: str, x: float, y: float, **more: Any) -> dict[str, Any]:
    return {"from_name": "answer", "type": kind, "value": {"x": x, "y": y, "width": 1, **more}}


def test_every_task_has_a_form() -> None:
    assert FORMS.keys() == VOCABULARIES.keys()


def test_interfaces_offer_the_names_whatever_characters_they_have() -> None:
    assert names(CLASSES, "Choice") == ['cat & "dog"', "bird"]
    assert names(POSE, "Label") == ["left <ear>", "nose", "tail"]
    assert names(CLASSES, "Image") == names(POSE, "Image") == ["$image"]


def test_places_are_percent_of_the_picture_counted_from_its_corner() -> None:
    """The middle of pixel 20 of 200 is at 20.5 / 200 = 10.25 %; that of row 4 of 50 at 4.5 / 50 = 9 %."""
    told = FORMS["counting"].told([[20.0, 4.0]], SIZE, Vocabulary("counting"))
    assert (told[0]["value"]["x"], told[0]["value"]["y"]) == (10.25, 9.0)
    assert (told[0]["original_width"], told[0]["original_height"], told[0]["type"]) == (200, 50, "keypoint")
    heard = FORMS["counting"].heard([point("keypoint", 10.25, 9.0), point("keypoint", 0, 100)], SIZE, POSE_OF_POINTS)
    assert heard == [[20.0, 4.0], [-0.5, 49.5]]


POSE_OF_POINTS = Vocabulary("counting")


def test_joints_come_back_in_the_projects_order_and_unmarked_ones_are_unseen() -> None:
    answer = [[10.0, 5.0, 2], [None, None, 0], [150.5, 20.25, 2]]
    told = FORMS["pose"].told(answer, SIZE, POSE)
    assert [part["value"]["keypointlabels"] for part in told] == [["left <ear>"], ["tail"]]
    assert FORMS["pose"].heard(told[::-1], SIZE, POSE) == answer


def test_a_count_with_points_is_told_as_points() -> None:
    told = FORMS["counting"].told({"count": 2.2, "points": [[20.0, 4.0], [0.0, 0.0]]}, SIZE, POSE_OF_POINTS)
    assert [(part["value"]["x"], part["value"]["y"]) for part in told] == [(10.25, 9.0), (0.25, 1.0)]
    assert {part["type"] for part in told} == {"keypoint"}
    assert FORMS["counting"].told({"count": 0.2, "points": []}, SIZE, POSE_OF_POINTS) == []


def test_a_mere_count_cannot_be_drawn_and_nothing_marked_is_an_answer() -> None:
    form = FORMS["counting"]
    assert form.told(41.7, SIZE, POSE_OF_POINTS) == []
    assert form.heard([], SIZE, POSE_OF_POINTS) == []
    assert form.may_be_empty


def test_numbers_and_classes() -> None:
    number, classes = FORMS["regression"], FORMS["classification"]
    assert number.heard(number.told(-2.5, SIZE, POSE), SIZE, Vocabulary("regression")) == -2.5
    assert classes.heard(classes.told("bird", SIZE, CLASSES), SIZE, CLASSES) == "bird"
    assert classes.told("gone", SIZE, CLASSES) == []  # a class that left the recipe since


def choice(*chosen: str) -> list[dict[str, Any]]:
    return [{"from_name": "answer", "type": "choices", "value": {"choices": list(chosen)}}]


@pytest.mark.parametrize(
    ("vocabulary", "result", "words"),
    [
        (CLASSES, choice("fish"), "'fish' is none of the 2 classes"),
        (CLASSES, choice("bird", "bird"), "2 classes were chosen"),
        (CLASSES, [], "0 classes were chosen"),
        (POSE, [point("keypointlabels", 1, 1, keypointlabels=["fin"])], "'fin' is none of the joints"),
        (POSE, [point("keypointlabels", 1, 1, keypointlabels=["nose"])] * 2, "joint 'nose' was marked twice"),
        (Vocabulary("regression"), [], "0 numbers were given"),
    ],
)
def test_what_is_no_answer_is_said(vocabulary: Vocabulary, result: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(DataError, match=words):
        FORMS[vocabulary.task].heard(result, SIZE, vocabulary)
