"""Answers and predictions on pictures: what is drawn where, in which colour, on which side."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from lossrank.report import gallery, write_report
from lossrank.report.drawing import GAP, PANEL, drawable, pair, told

POSE = {"kind": "pose", "links": [[0, 1], [2, 3]], "sides": ["left", "left", "right", "right", ""]}
POINTS = {"kind": "points"}
ORANGE, BLUE, WHITE, YELLOW = (230, 159, 0), (86, 180, 233), (255, 255, 255), (240, 228, 66)


def grey(width: int = 80, height: int = 80) -> Image.Image:
    return Image.new("RGB", (width, height), (60, 60, 60))


def panels(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Left and right picture, [height, width, 3]."""
    pixels = np.asarray(image).astype(int)
    width = (pixels.shape[1] - GAP) // 2
    assert (pixels[:, width : width + GAP] == 255).all()
    return pixels[:, :width], pixels[:, width + GAP :]


def is_near(pixel: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(pixel - np.array(colour)).max() <= 40)


def middle_of(pixels: np.ndarray, colour: tuple[int, int, int]) -> tuple[float, float]:
    """x, y of the middle of what has this colour."""
    rows, columns = (np.abs(pixels - np.array(colour)).max(2) <= 40).nonzero()
    return float(columns.mean()), float(rows.mean())


def test_a_skeleton_lies_where_its_joints_are_in_the_colours_of_its_sides() -> None:
    # A left limb from (10, 10) to (10, 70), a right one unseen at one end, a lone joint on neither side.
    answer = [[10, 10, 1], [10, 70, 1], [60, 20, 1], [70, 20, 0], [40, 60, 1]]
    image = pair(grey(), POSE, answer, None)
    assert image is not None
    assert image.size == (2 * PANEL + GAP, PANEL)
    left, right = panels(image)
    assert (right == 60).all()
    # Twice as large as the picture: pixel 10 is about 21.
    assert is_near(left[80, 21], ORANGE)
    assert middle_of(left, ORANGE) == pytest.approx((20.5, 80.5), abs=1)
    assert middle_of(left, BLUE) == pytest.approx((120.5, 40.5), abs=1)
    assert middle_of(left, WHITE) == pytest.approx((80.5, 120.5), abs=1)
    assert left[80, 19].sum() < 120, "a dark rim beside the line"
    assert is_near(left[40, 135], (60, 60, 60)), "no line to an unseen joint"


def test_a_prediction_lies_in_the_middle_of_a_larger_picture() -> None:
    said = {"joints": [[0, 0, 0.0], [0, 0, 0.0], [20, 10, 0.9], [20, 10, 0.9], [0, 0, -1.0]], "size": [40, 60]}
    image = pair(grey(80, 60), POSE, {"joints": [[None, None, 0]] * 5, "head_size": 9.0}, said)
    assert image is not None
    left, right = panels(image)
    assert (left == 60).all()
    # 60 of 80 columns and 40 of 60 rows: 10 pixels to the left and above belong to the picture alone.
    assert middle_of(right, BLUE) == pytest.approx((2 * 30.5 - 0.5, 2 * 20.5 - 0.5), abs=1)


def test_heads_are_dots_and_a_density_is_bright_where_it_is_large() -> None:
    density = np.zeros((6, 8))
    density[1, 6] = 2.5
    image = pair(grey(80, 60), POINTS, [[20, 45]], {"count": 2.5, "density": density.tolist()})
    assert image is not None
    assert image.size == (2 * PANEL + GAP, 120)
    left, right = panels(image)
    assert middle_of(left, YELLOW) == pytest.approx((40.5, 90.5), abs=1)
    rows, columns = np.unravel_index(right.sum(2).argmax(), right.shape[:2])
    assert (columns / 20, rows / 20) == pytest.approx((6.5, 1.5), abs=0.3)
    assert (right[60:, :80] <= 31).all(), "the picture under it is dark"
    empty = pair(grey(), POINTS, [], {"count": 0.0, "density": [[0.0]]})
    assert empty is not None
    assert (panels(empty)[1] == 30).all()


def test_what_is_no_drawing_stays_a_picture() -> None:
    assert not drawable({"kind": "class"})
    assert not drawable({})
    assert pair(grey(), {"kind": "class"}, "cat", {"class": "dog"}) is None


@pytest.mark.parametrize(
    ("form", "answer", "prediction", "expected"),
    [
        ({"kind": "class"}, "cat", {"class": "dog", "probability": 0.625}, ("cat", "dog 62%")),
        ({"kind": "class"}, 3, None, ("3", "")),
        (POSE, [[1, 2, 1], [None, None, 0]], {"joints": []}, ("1 joints", "")),
        (POSE, {"joints": [[1, 2, 1]] * 3, "head_size": 1.0}, None, ("3 joints", "")),
        (POINTS, {"points": [[1, 2]] * 153}, {"count": 140.23}, ("153", "140.2")),
        (POINTS, [], {"count": 0.4}, ("0", "0.4")),
        ({"kind": "text"}, 0.123456, [1.0, 2.5], ("0.1235", "1, 2.5")),
        ({"kind": "value"}, [31.25, 1.0], {"value": [30.0, 2.5]}, ("31.25, 1", "30, 2.5")),
        ({"kind": "value"}, 31.25, {"value": 29.0}, ("31.25", "29")),
        ({}, [[1, 2, 3]] * 14, None, ("", "")),
        ({}, None, None, ("", "")),
    ],
)
def test_a_caption_is_a_few_words(form, answer, prediction, expected) -> None:
    assert told(form, answer, prediction) == expected


def pose_rows(count: int = 12, **changes):
    joints = [[10.5 + k, 20.25, 1] for k in range(5)]
    said = {"joints": [[11.0 + k, 21.0, 0.5] for k in range(5)], "size": [80, 80]}
    return [
        {"id": f"im{k}.jpg", "score": -0.25, "label": joints, "loss": 0.0054321, "prediction": said, **changes}
        for k in range(count)
    ]


def test_a_pose_page_shows_pairs_and_no_wall_of_numbers(write_run, tmp_path) -> None:
    folder = write_run(
        "l2r-al", 0, [0.1], ranked_first=pose_rows(), ranked_last=pose_rows(), form=POSE, score="predicted_loss"
    )
    page = write_report([folder], tmp_path / "r.html", title="t", thumbnail=lambda sample: grey()).read_text("utf-8")
    assert "<b>5 joints</b><span>predicted loss -0.25</span><span>true loss 0.00543</span>" in page
    assert "20.25" not in page
    assert page.count("<img") == 2 * gallery.DRAWN_SAMPLES
    assert len(set(re.findall(r"data:image/(\w+);", page))) == 1
    assert "left limbs are orange" in page


def test_rows_of_another_make_lose_no_page(write_run, tmp_path) -> None:
    odd = pose_rows(3, prediction={"joints": "none"}) + pose_rows(3, label=7) + pose_rows(3, prediction=[[]])
    folder = write_run("random", 0, [0.1], ranked_first=odd[:8], form=POSE)
    page = write_report([folder], tmp_path / "r.html", title="t", thumbnail=lambda sample: grey()).read_text("utf-8")
    assert page.count("<img") == 8


def test_many_drawn_pictures_leave_every_strip_some(write_run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(gallery, "BUDGET", 8 * gallery.DRAWN_BYTES)
    for strategy in ("random", "entropy"):
        write_run(strategy, 0, [0.1, 0.2], ranked_first=pose_rows(), ranked_last=pose_rows(), form=POSE)
    page = write_report([tmp_path / "runs"], tmp_path / "r.html", title="t", thumbnail=lambda sample: grey())
    # Two strategies, two rounds, two strips: for eight strips the budget holds one picture each; two are the least.
    assert page.read_text("utf-8").count("<img") == 8 * 2
    assert "left out" not in page.read_text("utf-8")
