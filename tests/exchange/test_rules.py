"""Rules that hold for answers in every format: what is skipped, which name was meant, whose answer it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lossrank.errors import DataError
from lossrank.exchange import Question, Vocabulary, read_answers, write_questions
from lossrank.exchange.answers import skip_reason

ANIMALS = Vocabulary("classification", ("cat", "guinea pig", "caf\u00e9", "1"))
POSE = Vocabulary("pose", ("left", "right"))
VALUE = Vocabulary("regression")
POINTS = Vocabulary("counting")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        *((value, None) for value in (None, False, 0, 0.0, float("nan"), "", " ", "False", "FALSE", "0", "0.0", "no")),
        *((value, None) for value in ("No", "n", "nan", "None", "null", "<NA>", "FALSCH", "faux")),
        *((value, "skipped") for value in (True, 1, 1.0, "TRUE", "yes", "1", "x", "WAHR")),
        ("blurred", "blurred"),
        (" too dark ", "too dark"),
    ],
)
def test_one_rule_says_what_is_skipped(tmp_path: Path, value: Any, reason: str | None) -> None:
    assert skip_reason(value) == reason
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "a", "skip": value}) + "\n")
    (tmp_path / "a.json").write_text(json.dumps([{"id": "a", "skip": value}]))
    (tmp_path / "a.csv").write_text(f"id,skip\na,{'' if value is None else value}\n")
    for name, vocabulary in (("a.jsonl", ANIMALS), ("a.json", POINTS), ("a.csv", ANIMALS)):
        found = read_answers(tmp_path / name, vocabulary)
        assert found.broken == []
        assert [given.skipped for given in found.given] == ([reason] if reason else [])


@pytest.mark.parametrize("value", [[], {}, 2, -1, 0.5])
def test_what_is_no_skip_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match="expected true, false or the reason"):
        skip_reason(value)


@pytest.mark.parametrize(
    ("answer", "meant"),
    [("Cat", "cat"), ("cat ", "cat"), ("Guinea_Pig", "guinea pig"), ("cta", "cat"), ("1.0", "1"), (1, "1")],
)
def test_the_class_that_was_meant_is_named_and_not_taken(answer: Any, meant: str) -> None:
    with pytest.raises(DataError, match=rf"did you mean ([\w ]+ or )*{meant}( or|\?)"):
        ANIMALS.checked(answer)


def test_letters_composed_in_another_way_are_the_same_class() -> None:
    assert ANIMALS.checked("cafe\u0301") == "caf\u00e9"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("12,5", "use 12.5"),
        ("12.5", "write 12.5 without quotes"),
        (10**400, "is no number"),
        (-(10**308) * 10**5, "is no number"),
        (float("inf"), "is no number"),
        (1e39, "is too large"),
        (True, "is no number"),
    ],
)
def test_numbers_that_are_none(answer: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        VALUE.checked(answer)


def test_a_key_that_is_there_twice_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "a", "answer": "cat", "answer": "1"}\n{"id": "b", "answer": "cat"}')
    found = read_answers(tmp_path / "a.jsonl", ANIMALS)
    assert [given.sample for given in found.given] == ["b"]
    assert "key 'answer' twice" in found.broken[0]


def coco(folder: Path, **changed: Any) -> Path:
    content: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "categories": [{"id": 7, "name": "person", "keypoints": ["right", "nose", "left"]}, {"id": 8, "name": "dog"}],
        "annotations": [
            {"image_id": 1, "category_id": 7, "keypoints": [1, 2, 2, 3, 4, 2, 5, 6, 1]},
            {"image_id": 1, "category_id": 7, "keypoints": [0] * 9},
            {"image_id": 2, "category_id": 8, "bbox": [1, 2, 3, -4]},
        ],
    }
    (folder / "k.json").write_text(json.dumps(content | changed))
    return folder / "k.json"


def test_coco_joints_are_matched_by_name(tmp_path: Path) -> None:
    found = read_answers(coco(tmp_path), POSE)
    assert found.broken == []
    assert [(given.sample, given.answer) for given in found.given] == [("a.png", [[5, 6, 1], [1, 2, 2]])]


def test_an_image_id_of_two_files_gives_no_answer(tmp_path: Path) -> None:
    found = read_answers(
        coco(tmp_path, images=[{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "c.png"}]), POSE
    )
    assert found.given == []
    assert any("stands for a.png and c.png" in reason for reason in found.broken)


@pytest.mark.parametrize(
    "changed",
    [
        {"annotations": [{"image_id": [1], "category_id": 7, "keypoints": [1] * 9}]},
        {"annotations": [{"image_id": 1, "category_id": {}, "keypoints": [1] * 9}]},
        {"annotations": [{"image_id": 1, "category_id": 7, "keypoints": [1] * 8}]},
        {"annotations": [{"image_id": 1, "category_id": 7, "keypoints": [1, 2, 2, 3, 4, 2, 1e400, 6, 1]}]},
        {"annotations": [{"image_id": 1, "category_id": 7, "keypoints": "x"}]},
        {"images": [3, {"id": None, "file_name": "a"}, {"id": 1}]},
    ],
)
def test_parts_of_a_coco_file_that_make_no_sense_are_listed(tmp_path: Path, changed: dict[str, Any]) -> None:
    found = read_answers(coco(tmp_path, **changed), POSE)
    assert found.given == []
    assert found.broken


@pytest.mark.parametrize(
    "content", ["[]", "3", "{", '{"images": {}}', '{"images": [], "annotations": [], "categories": []}']
)
def test_files_that_are_no_coco_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "k.json").write_text(content)
    with pytest.raises(DataError):
        read_answers(tmp_path / "k.json", POSE)


def test_names_of_folders_and_copies_are_short_and_differ_without_case(tmp_path: Path) -> None:
    names = ("Cat", "cat", "CAT", "con", "a.", "日" * 90, "_todo", ".hidden", "a/b")
    ids = ["x/" + "ü" * 90 + ".png", "B.png", "b.png"]
    for sample in ids:
        (tmp_path / "p" / sample).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / sample).write_bytes(b"x")
    vocabulary, out = Vocabulary("classification", names), tmp_path / "out"
    for sample in ids:  # every one has rank 1 in an export of its own
        write_questions(out, [Question(sample, 1)], vocabulary, tmp_path / "p")
    folders = [path.name for path in out.iterdir() if path.is_dir()]
    assert len({name.casefold() for name in folders}) == len(names) + 2
    assert not [name for name in folders if name.casefold() == "con" or name.endswith(".")], "Windows takes neither"
    copies = sorted((out / "_todo").iterdir())
    assert len({file.name.casefold() for file in copies}) == 3
    assert max(len(file.name.encode()) for file in (*copies, *out.iterdir())) <= 240
    target = next(path for path in out.iterdir() if path.name.startswith("%43") and path.is_dir())
    for file in copies:
        file.rename(target / file.name)
    found = read_answers(out, vocabulary)
    assert found.broken == []
    assert sorted(given.sample for given in found.given) == sorted(ids)
    assert {given.answer for given in found.given} == {"CAT"}
