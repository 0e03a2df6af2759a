"""Projects whose answers are places in a picture: pixels of the picture in the ledger, of the pool in training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lossrank import Project
from lossrank.errors import MissingExtra
from lossrank.project import cold
from lossrank.project.pictures import open_pictures

SHORTER = (("epochs: 30", "epochs: 1"), ("epochs: 20", "epochs: 1"), ("image_size: 128", "image_size: 32"))
QUICK = (*SHORTER, ("folds: 5, least: 30", "folds: 2, least: 8"), ("width: 12", "width: 4"), ("width: 16", "width: 4"))


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """14 pictures of 64 x 32, a white square of 4 pixels in each; so scaled by half and 8 rows below the pool's top."""

    def missing(*arguments: object) -> None:
        raise MissingExtra("the network", "trunks", "this test")

    monkeypatch.setattr(cold, "trunk_embeddings", missing)
    (tmp_path / "photos").mkdir()
    for number in range(14):
        image = Image.new("RGB", (64, 32))
        image.paste((255, 255, 255), (4 * number, 10, 4 * number + 4, 14))
        image.save(tmp_path / "photos" / f"{number:02d}.png")
    return tmp_path / "photos"


def place(sample: str) -> list[float]:
    """The middle of the square; the first pixel is 0."""
    return [4 * int(sample[:2]) + 1.5, 11.5]


ANSWERS: dict[str, Any] = {
    "pose": lambda sample: [[*place(sample), 2], [None, None, 0]],
    "counting": lambda sample: [place(sample)],
}


@pytest.mark.parametrize("task", ANSWERS)
def test_two_rounds_of(task: str, photos: Path, tmp_path: Path) -> None:
    names = ["left_hand", "right_hand"] if task == "pose" else []
    with Project.init(tmp_path / "p", photos, task, names, initial=8, step=3, audit=0) as project:
        recipe = tmp_path / "p" / "recipe.yaml"
        text = recipe.read_text()
        for old, new in QUICK:
            text = text.replace(old, new)
        recipe.write_text(text)
        first = project.select()
        project.ingest({q.sample: ANSWERS[task](q.sample) for q in first})
        second = project.select()
        assert len({q.sample for q in first + second}) == 11
        path = tmp_path / "next.json"
        project.export(path)
        said = json.loads(path.read_text())
        if task == "pose":
            assert [image["file_name"] for image in said["images"]] == [q.sample for q in second]
            assert all(len(a["keypoints"]) == 6 and a["score"] is not None for a in said["annotations"])
            assert len(said["annotations"]) == 3
        else:
            assert [entry["id"] for entry in said] == [q.sample for q in second]
            assert all(entry["prediction"].keys() == {"count", "points"} for entry in said)
            for entry in said:
                assert len(entry["prediction"]["points"]) <= max(0, round(entry["prediction"]["count"]))
                assert all(-0.5 <= x <= 63.5 and -0.5 <= y <= 31.5 for x, y in entry["prediction"]["points"])
        row = project.layout.rounds()[0]
    assert row["labelled"] == 8
    assert row["health"]["samples"] == 8
    assert row["measured"] == "cross-fitted on the answers"
    if task == "counting":
        assert row["metric"]["extras"]["RMSE"] >= row["metric"]["value"] > 0  # by the inequality of the two means
    else:
        assert "extras" not in row["metric"]


def test_a_place_and_back(photos: Path, tmp_path: Path) -> None:
    """Column 5.5 of 64 is 2.5 of 32; row 11.5 of the 32 is 5.5 of 16, and 8 rows of border lie above."""
    with Project.init(tmp_path / "p", photos, "pose", ["left_hand", "right_hand"]) as project:
        recipe = tmp_path / "p" / "recipe.yaml"
        recipe.write_text(recipe.read_text().replace("image_size: 128", "image_size: 32"))
    with Project.open(tmp_path / "p") as project:
        pictures = open_pictures(project.layout, project.ledger.added())
        learnt = pictures.learnt("01.png", ANSWERS["pose"]("01.png"))
        assert learnt["joints"][0] == [2.5, 13.5, 2]
        picture = pictures.data.train.thumbnail("01.png")
        assert picture is not None
        shown = picture.convert("L")
        assert shown.getpixel((2, 13)) == shown.getpixel((3, 13)) == shown.getpixel((2, 14)) > 150
        assert shown.getpixel((6, 13)) == 0
        prediction = {"joints": [[2.5, 13.5, 0.5], [0.0, 8.0, 0.1]], "size": [32, 32]}
        answer, confidence = pictures.said("01.png", prediction)
        assert answer[0] == [5.5, 11.5, 2]
        assert confidence == pytest.approx(0.3)


def test_counted_points_are_pixels_of_the_upright_picture_and_none_lies_beside_it(photos: Path, tmp_path: Path) -> None:
    """The picture stands on its side on the disk, 32 x 64: upright it is 64 x 32, as the others."""
    Image.open(photos / "01.png").transpose(Image.Transpose.ROTATE_90).save(photos / "01.png", exif=_turned(6))
    with Project.init(tmp_path / "p", photos, "counting") as project:
        recipe = tmp_path / "p" / "recipe.yaml"
        recipe.write_text(recipe.read_text().replace("image_size: 128", "image_size: 32"))
    with Project.open(tmp_path / "p") as project:
        pictures = open_pictures(project.layout, project.ledger.added())
        picture = pictures.data.train.thumbnail("01.png")
        assert picture is not None
        assert picture.convert("L").getpixel((2, 13)) > 150
        prediction = {"count": 3.4, "points": [[2.5, 13.5], [31.0, 23.5], [20.0, 6.0]], "density": [[3.4]]}
        answer, confidence = pictures.said("01.png", prediction)
        assert answer == {"count": 3.4, "points": [[5.5, 11.5], [62.5, 31.5]]}  # the third lies in the border above
        assert confidence is None
        assert pictures.learnt("01.png", answer["points"])["points"] == [[2.5, 13.5], [31.0, 23.5]]
        assert pictures.said("01.png", {"count": 3.4}) == (3.4, None)


def _turned(way: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = way
    return exif
