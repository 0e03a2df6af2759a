"""A picture that could not be read is tried again once its file has changed."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from lossrank.project import Project
from lossrank.project.unreadable import retirement, take_back_changed


def test_a_half_copied_picture_is_asked_about_once_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    for k in range(4):
        Image.effect_noise((32, 32), 50 + k).save(tmp_path / "p" / f"{k}.png")
    whole = (tmp_path / "p" / "0.png").read_bytes()
    (tmp_path / "p" / "0.png").write_bytes(whole[:200])
    with Project.init(tmp_path / "x", tmp_path / "p", "classification", ["a", "b"], initial=2) as project:
        project.select()
        assert project.ledger.retired().keys() == {"0.png"}
        assert take_back_changed(project.layout, project.ledger) == []
        (tmp_path / "p" / "0.png").write_bytes(whole)
        assert "0.png" in {question.sample for question in project.select(2, more=True)}
        assert project.ledger.retired() == {}
        assert take_back_changed(project.layout, project.ledger) == []


def test_what_a_person_retired_stays_and_so_does_an_answer_that_came_later(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    names = ("a.png", "b.png", "c.png", "d.png")
    for name in names:
        (tmp_path / "p" / name).write_bytes(b"-")
    with Project.init(tmp_path / "x", tmp_path / "p", "classification", ["a", "b"]) as project:
        project.ledger.retire(["a.png"], "blurred")
        project.ledger.ask(0, [("b.png", None), ("d.png", None)], "why not")
        project.ledger.answer({"d.png": "a"}, "ann")
        for name in names[1:]:
            project.ledger.retire([name], retirement(tmp_path / "p" / name, "damaged"))
        project.ledger.answer({"b.png": "a"}, "ann")
        for name in names:
            (tmp_path / "p" / name).write_bytes(b"--")
        assert take_back_changed(project.layout, project.ledger) == ["c.png", "d.png"]
        assert project.ledger.labelled() == {"b.png": "a", "d.png": "a"}
