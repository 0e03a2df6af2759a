"""Answers find their pictures however the letters of a name are composed."""

from __future__ import annotations

import unicodedata
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from lossrank.project import Project

FORMS = ("NFC", "NFD")


def composed(folder: str, name: str) -> str:
    """An id with the letters of its folder and those of its file composed in these forms."""
    return unicodedata.normalize(folder, "Zoë") + "/" + unicodedata.normalize(name, "Bär.png")


@pytest.mark.parametrize("in_file", list(product(FORMS, FORMS)))
@pytest.mark.parametrize("on_disk", list(product(FORMS, FORMS)))
def test_an_answer_finds_its_picture_in_any_composition(
    tmp_path: Path, on_disk: tuple[str, str], in_file: tuple[str, str]
) -> None:
    known = composed(*on_disk)
    for name in (known, "b.png"):
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "p" / name)
    with Project.init(tmp_path / "x", tmp_path / "p", "classification", ["a", "b"]) as project:
        project.ledger.ask(None, [(known, None)], "test", project.layout.digests([known]))
        answers = tmp_path / "answers.csv"
        answers.write_text(f"id,answer\n{composed(*in_file)},a\n", encoding="utf-8")
        project.ingest(answers)
        assert project.ledger.labelled() == {known: "a"}
