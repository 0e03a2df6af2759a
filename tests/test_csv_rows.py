"""CSV of people and their tools: a row is whole or refused, for answers and data sets alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from lossrank.csv_rows import CsvTable, number_in, read_csv
from lossrank.datasets import load_points
from lossrank.datasets.values import load_values
from lossrank.errors import DataError
from lossrank.exchange import Vocabulary, read_answers

VALUE = Vocabulary("regression")
CLASSES = Vocabulary("classification", ("cat", "category"))


def table(tmp_path: Path, text: str) -> CsvTable:
    (tmp_path / "t.csv").write_bytes(text.encode())
    return read_csv(tmp_path / "t.csv", ("id",), "expected is id", short_rows=True)


def broken(tmp_path: Path, text: str, vocabulary: Vocabulary = VALUE) -> list[str]:
    (tmp_path / "t.csv").write_bytes(text.encode())
    return read_answers(tmp_path / "t.csv", vocabulary).broken


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_more_cells_than_columns_are_refused_with_line_and_cells(tmp_path: Path, mark: str) -> None:
    found = table(tmp_path, f"id{mark}answer\na.png{mark}1{mark}5\nb.png{mark}2{mark}{mark}\n")
    assert [row.cells for row in found.rows] == [{"id": "b.png", "answer": "2"}]
    ((line, reason),) = found.broken
    assert line == 2
    assert "3 cells; expected are 2: id, answer; got 'a.png', '1', '5'" in reason
    assert ("Write 1.5" in reason) == (mark == ",")


@pytest.mark.parametrize(
    "answer", ["12,5", '"12,5"', "1.234,5", "12.5 kg", "0x10", "1_000", "nan", "inf", "1e400", "9" * 400]
)
def test_no_number_is_guessed_at(tmp_path: Path, answer: str) -> None:
    text = f"id;answer\na.png;{answer}\n"
    assert len(broken(tmp_path, text)) == 1
    assert ("use 12.5" in broken(tmp_path, text)[0]) == ("12,5" in answer)
    assert number_in(answer.strip('"')) is None


@pytest.mark.parametrize("rows", ["a.png,12", "a.png,12.5", '"a.png","12"'])
def test_a_last_line_without_an_end_is_refused_and_those_before_it_are_not(tmp_path: Path, rows: str) -> None:
    whole = f"id,answer\nb.png,3\n{rows}"
    (reason,) = broken(tmp_path, whole)
    assert reason.startswith("line 3: the file ends here without a line break")
    assert [given.sample for given in read_answers(tmp_path / "t.csv", VALUE).given] == ["b.png"]
    for end in ("\n", "\r\n", "\r"):
        assert broken(tmp_path, whole + end) == []


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_no_cut_changes_an_answer(tmp_path: Path, name: str) -> None:
    whole = "id,answer,skip\na,category,\nb,,dark\n"
    if name == "t.jsonl":
        whole = '{"id": "a", "answer": "category"}\n{"id": "b", "skip": "dark"}'
    for cut in range(len(whole) + 1):
        (tmp_path / name).write_text(whole[:cut])
        try:
            given = read_answers(tmp_path / name, CLASSES).given
        except DataError:
            continue
        assert {(g.sample, g.answer, g.skipped) for g in given} <= {("a", "category", None), ("b", None, "dark")}


def test_a_stray_quotation_mark_is_refused_with_the_line_where_it_stands(tmp_path: Path) -> None:
    text = "".join(f"{'x' if k != 2 else chr(34)}{k}.png,{k}\n" for k in range(5))
    found = broken(tmp_path, f"id,answer\n{text}")
    assert [line.partition(":")[0] for line in found] == ["line 4"]
    swallowed = 'id,answer,skip\na.png,,"dark\nb.png,3,\nc.png,4,"\n'
    assert "goes on over several lines" in broken(tmp_path, swallowed)[0]


def test_a_column_that_numbers_the_rows_is_no_value(tmp_path: Path) -> None:
    for k in range(10):
        Image.new("RGB", (8, 8), (k, 0, 0)).save(tmp_path / f"a{k}.png")
    for head in ("", "Unnamed: 0", "index"):
        text = f"{head},File,age\n" + "".join(f"{k},a{k}.png,{30 + k}\n" for k in range(10))
        (tmp_path / "ages.csv").write_text(text)
        data = load_values(tmp_path / "ages.csv", image_size=4)
        assert data.classes == ("age",)
        assert any("is ignored" in note for note in data.notes)
    assert load_values(tmp_path / "ages.csv", values=["index"], image_size=4).classes == ("index",)


def test_names_separators_and_encodings_of_spreadsheets(tmp_path: Path) -> None:
    assert table(tmp_path, "sep=;\r\nid;answer\r\na.png;1\r\n").rows[0].cells == {"id": "a.png", "answer": "1"}
    assert table(tmp_path, "sep=;\r\nid;answer\r\na.png;1\r\n").rows[0].line == 3
    assert [row.line for row in table(tmp_path, '\n\nid,answer\n"a\nb",1\nc,2\n').rows] == [4, 6]
    for text, message in (("id,x,ID\na,1,2\n", "id is a column twice"), ("id,x\na,1\0\n", "NUL bytes")):
        with pytest.raises(DataError, match=message):
            table(tmp_path, text)
    (tmp_path / "t.csv").write_bytes("id,x\na,1\n".encode("utf-16-le"))
    with pytest.raises(DataError, match="UTF-16 without a byte-order mark"):
        read_csv(tmp_path / "t.csv", ("id",), "")


def test_heads_follow_the_same_rules(tmp_path: Path) -> None:
    for text, message in (
        ("image,x,y\na.png,3,5,12,5\n", r"line 2 of .* 5 cells; expected are 3"),
        ("image;x;y\na.png;3,5;12,5\n", "'3,5'; use 3.5"),
        ("image,x,y\na.png,3,5", "ends here without a line break"),
        ('{"a.png": [[1, 1]], "a.png": []}', "the key 'a.png' twice"),
        ('{"a.png": [[1, true]]}', "a coordinate of a point is 'True'"),
    ):
        (tmp_path / "heads.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            load_points(tmp_path / "heads.csv")
