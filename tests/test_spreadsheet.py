"""CSV that a spreadsheet may open: no cell of a text is a formula, and every text is read back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossrank.compare.sheets import Sheet
from lossrank.compare.write import to_csv
from lossrank.datasets.points import load_points
from lossrank.datasets.values import load_values
from lossrank.spreadsheet import csv_text, plain

FORMULAS = ("=1+1", "+1-cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "'=1", "''@x", "\uff1d1+1")
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00")) | st.sampled_from(FORMULAS)


def cells(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))


@given(st.lists(st.lists(TEXTS, min_size=2, max_size=2), min_size=1, max_size=4), st.sampled_from(",\t"))
def test_no_text_is_a_formula_and_every_text_comes_back(rows: list[list[str]], delimiter: str) -> None:
    written = cells(csv_text(rows, delimiter), delimiter)
    assert [[plain(cell) for cell in row] for row in written] == rows
    for cell in (cell for row in written for cell in row):
        if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d")):
            float(cell)


def test_numbers_and_empty_cells_stay_as_they_are() -> None:
    assert csv_text([(-0.1, None, "-12.5", 1e-9)]) == "-0.1,,-12.5,1e-09\n"


def test_tables_of_a_comparison_hold_no_formula() -> None:
    sheet = Sheet("summary", "Summary", ("strategy", "@gain"), (("=cmd", -1.5), ("random", None)), "")
    assert cells(to_csv(sheet)) == [["strategy", "'@gain"], ["'=cmd", "-1.5"], ["random", ""]]


@pytest.mark.parametrize("load", [load_values, load_points])
def test_ids_of_a_table_that_was_written_so_are_read_back(tmp_path: Path, load: object) -> None:
    from PIL import Image

    names = ["=1+1.png", "@b.png", *(f"{n}.png" for n in range(20))]
    for name in names:
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    table = tmp_path / "table.csv"
    head = ("id", "value") if load is load_values else ("image", "x", "y")
    table.write_text(csv_text([head, *((name, 1.0, 2.0)[: len(head)] for name in names)]))
    data = load(table, test_fraction=0.3)  # type: ignore[operator]
    assert {*data.train.ids, *data.test.ids} == set(names)
