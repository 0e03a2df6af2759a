"""Questions out, answers in, in every format; what is broken is named and nothing is guessed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lossrank.errors import ConfigError, DataError
from lossrank.exchange import Question, Vocabulary, read_answers, write_questions
from lossrank.spreadsheet import plain, safe

ANIMALS = Vocabulary("classification", ("cat", "dog", "=1+1"))
POSE = Vocabulary("pose", ("left_hand", "right_hand"))
POINTS = Vocabulary("counting")
VALUE = Vocabulary("regression")


def answers(path: Path, vocabulary: Vocabulary) -> dict[str, Any]:
    found = read_answers(path, vocabulary)
    assert found.broken == []
    return {g.sample: g.answer if g.skipped is None else ("skipped", g.skipped) for g in found.given}


def test_csv_out_is_in_order_and_holds_no_formula(tmp_path: Path) -> None:
    questions = [Question("=cmd.jpg", 1, -1.5, "=1+1", 0.9), Question("a/b,c.jpg", 2), Question("'=x.jpg", 3)]
    write_questions(tmp_path / "q.csv", questions, ANIMALS, tmp_path)
    text = (tmp_path / "q.csv").read_text()
    assert text.splitlines()[:2] == [
        "rank,id,score,prediction,confidence,answer,skip",
        "1,'=cmd.jpg,-1.5,'=1+1,0.9,,",
    ]
    assert answers(tmp_path / "q.csv", ANIMALS) == {}, "nothing is answered yet, whatever the model says"
    rows = list(csv.DictReader(text.splitlines()))
    rows[0]["answer"], rows[1]["answer"], rows[2]["skip"] = "'=1+1", "dog", "blurred"
    with (tmp_path / "q.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert answers(tmp_path / "q.csv", ANIMALS) == {
        "=cmd.jpg": "=1+1",
        "a/b,c.jpg": "dog",
        "'=x.jpg": ("skipped", "blurred"),
    }


@given(st.text(st.sampled_from("'=+-@\t\ra1.")))
def test_an_escaped_cell_is_no_formula_and_comes_back(text: str) -> None:
    assert plain(safe(text)) == text
    if safe(text)[:1] in ("=", "+", "-", "@", "\t", "\r"):
        float(safe(text))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_csv_of_any_spreadsheet(tmp_path: Path, encoding: str, mark: str) -> None:
    (tmp_path / "a.csv").write_bytes(f"ID{mark}Answer\r\nnaïve.jpg{mark}cat\r\n\r\n".encode(encoding))
    assert answers(tmp_path / "a.csv", ANIMALS) == {"naïve.jpg": "cat"}


def test_other_encodings_are_refused_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("id,answer\nnaïve.jpg,cat\n".encode("latin-1"))
    with pytest.raises(DataError, match="neither UTF-8 nor UTF-16 \\(byte 12 is 0xef\\): save it as UTF-8"):
        read_answers(tmp_path / "a.csv", ANIMALS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("id,label\na,cat\n", "columns id, label; expected are id and answer"),
        ("id,answer,answer\na,cat,dog\n", "a column twice"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_answers(tmp_path / "a.csv", ANIMALS)


def test_broken_rows_are_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,answer,skip\na,cow,\n,cat,\nb,cat,both\nc,cat,\n")
    found = read_answers(tmp_path / "a.csv", ANIMALS)
    assert [line.partition(":")[0] for line in found.broken] == ["line 2", "line 3", "line 4"]
    assert "'cow' is none of the 3 classes: cat, dog" in found.broken[0]
    assert [g.sample for g in found.given] == ["c"]


def test_broken_json_lines_are_named_and_the_good_ones_found(tmp_path: Path) -> None:
    lines = ['{"id": "a", "answer": "cat"}', '{"id": "b", "answer":', "[1]", '{"id": 3, "answer": "cat"}', ""]
    lines += ['{"id": "c", "answer": null}', '{"id": "d", "skip": "dark"}', '{"id": "e", "answer": "cow"}']
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = read_answers(tmp_path / "a.jsonl", ANIMALS)
    assert [(g.sample, g.answer, g.skipped) for g in found.given] == [("a", "cat", None), ("d", None, "dark")]
    assert [line[:6] for line in found.broken] == ["line 2", "line 3", "line 4", "line 8"]


@pytest.mark.parametrize(
    ("vocabulary", "answer", "name"),
    [
        (ANIMALS, "dog", "a.jsonl"),
        (POSE, [[1.5, 2, 2], [None, None, 0]], "a.jsonl"),
        (POINTS, [[1, 2], [3.5, 4]], "a.jsonl"),
        (POINTS, [], "a.json"),
        (VALUE, -2.5, "a.csv"),
        (POINTS, [[1, 2]], "a.csv"),
    ],
)
def test_what_was_exported_and_answered_comes_back(
    tmp_path: Path, vocabulary: Vocabulary, answer: Any, name: str
) -> None:
    path = tmp_path / name
    write_questions(path, [Question("x/y.jpg", 1, 0.5, None)], vocabulary, tmp_path)
    assert answers(path, vocabulary) == {}
    if name.endswith("csv"):
        path.write_text(path.read_text().replace(",,,,", f',,,"{json.dumps(answer)}",'))
    elif name.endswith("jsonl"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"answer": answer}))
    else:
        path.write_text(json.dumps([entry | {"points": answer} for entry in json.loads(path.read_text())]))
    assert answers(path, vocabulary) == {"x/y.jpg": answer}


def test_coco_predictions_are_no_answers_until_someone_removes_the_score(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "p.png")
    path, said = tmp_path / "q.json", [[1.0, 2.0, 2], [3.0, 4.0, 2]]
    write_questions(path, [Question("p.png", 1, 0.5, said, 0.7)], POSE, tmp_path)
    content = json.loads(path.read_text())
    assert content["images"] == [{"id": 1, "file_name": "p.png", "width": 40, "height": 30}]
    assert content["annotations"][0]["keypoints"] == [1.0, 2.0, 2, 3.0, 4.0, 2]
    assert answers(path, POSE) == {}
    del content["annotations"][0]["score"]
    path.write_text(json.dumps(content))
    assert answers(path, POSE) == {"p.png": said}
    content["categories"][0]["keypoints"] = ["right_hand", "left_foot"]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="the project's joints are"):
        read_answers(path, POSE)


def test_a_count_with_points_is_a_prediction_and_no_answer_until_it_is_copied(tmp_path: Path) -> None:
    path, said = tmp_path / "q.json", {"count": 2.4, "points": [[9.0, 4.0], [19.5, 9.5]]}
    write_questions(path, [Question("p.png", 1, 0.5, said)], POINTS, tmp_path)
    (entry,) = json.loads(path.read_text())
    assert entry == {"rank": 1, "id": "p.png", "score": 0.5, "prediction": said, "points": None}
    assert answers(path, POINTS) == {}
    path.write_text(json.dumps([entry | {"points": said["points"]}]))
    assert answers(path, POINTS) == {"p.png": said["points"]}
    write_questions(tmp_path / "q.csv", [Question("p.png", 1, 0.5, said)], POINTS, tmp_path)
    (row,) = csv.DictReader((tmp_path / "q.csv").read_text().splitlines())
    assert POINTS.checked(json.loads(row["prediction"])) == said["points"]


def test_class_folders_there_and_back(tmp_path: Path) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    ids = ["a/1 %~.png", "b.png", "=c.png"]
    for sample in ids:
        (pictures / sample).parent.mkdir(parents=True, exist_ok=True)
        (pictures / sample).write_bytes(b"x")
    questions = [Question(sample, rank, 0.1, "cat", 0.5) for rank, sample in enumerate(ids, 1)]
    for _ in range(2):
        write_questions(out, questions, ANIMALS, pictures)
    todo = sorted((out / "_todo" / "cat").iterdir())
    assert [file.name[:6] for file in todo] == ["00001~", "00002~", "00003~"]
    assert answers(out, ANIMALS) == {}
    todo[0].rename(out / "dog" / todo[0].name)
    todo[1].rename(out / "_skip" / todo[1].name)
    todo[2].rename(out / "%3D1%2B1" / todo[2].name)
    assert answers(out, ANIMALS) == {
        "a/1 %~.png": "dog",
        "b.png": ("skipped", "in the folder _skip"),
        "=c.png": "=1+1",
    }
    (out / "cow").mkdir()
    assert read_answers(out, ANIMALS).broken == ["folder cow: no class of the project has this name"]


@pytest.mark.parametrize(
    ("vocabulary", "answer", "message"),
    [
        (POSE, [[1, 2, 2]], "1 entries; expected"),
        (POSE, [[1, 2, 5], [1, 2, 1]], "v of 0, 1 or 2"),
        (POSE, [[None, 2, 2], [1, 2, 1]], "None is no number"),
        (POINTS, [[1, 2, 3]], "expected \\[x, y\\]"),
        (VALUE, True, "True is no number"),
        (VALUE, float("nan"), "nan is no number"),
        (ANIMALS, ["cat"], "is none of the 3 classes"),
    ],
)
def test_answers_that_are_none(vocabulary: Vocabulary, answer: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        vocabulary.checked(answer)


def test_a_format_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="possible are csv, jsonl, coco"):
        write_questions(tmp_path / "q.txt", [], POSE, tmp_path)
    with pytest.raises(ConfigError, match="'points' does not fit task 'pose'"):
        write_questions(tmp_path / "q.json", [], POSE, tmp_path, "points")
    with pytest.raises(DataError, match="there is no file"):
        read_answers(tmp_path / "none.csv", POSE)
