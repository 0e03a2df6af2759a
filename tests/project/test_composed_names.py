"""Answers find their pictures however the letters of a name are composed."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from lossrank.project import Project


@pytest.mark.parametrize(("disk", "file"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_an_answer_finds_its_picture_in_either_composition(tmp_path: Path, disk: str, file: str) -> None:
    on_disk, in_file = (unicodedata.normalize(form, "Zoë.png") for form in (disk, file))
    (tmp_path / "p").mkdir()
    for name in (on_disk, "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "p" / name)
    with Project.init(tmp_path / "x", tmp_path / "p", "classification", ["a", "b"]) as project:
        project.ledger.ask(None, [(on_disk, None)], "test", project.layout.digests([on_disk]))
        answers = tmp_path / "answers.csv"
        answers.write_text(f"id,answer\n{in_file},a\n", encoding="utf-8")
        project.ingest(answers)
        assert project.ledger.labelled() == {on_disk: "a"}
