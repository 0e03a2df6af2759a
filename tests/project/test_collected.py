"""Answers out and in again; ids and places as other tools write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lossrank.cli import main
from lossrank.errors import DataError
from lossrank.exchange import Answers, Given
from lossrank.project import Project

LONG = "sub/" + "ä" * 100 + ".png"
IDS = ["a.png", "b.png", "sub/c.png", LONG, "=d.png", "e.png"]
TASKS: dict[str, tuple[list[str], list[Any]]] = {
    "classification": (["cat", "Cat", "=1+1", "日本" * 45], ["cat", "Cat", "=1+1", "日本" * 45]),
    "regression": ([], [1.5, -2, 1e-9, 10**12]),
    "counting": ([], [[], [[0, 1.25]], [[3.5, 2], [3.5, 2]], [[9, 9]]]),
    "pose": (
        ["left", "right"],
        [[[1.5, 2, 2], [3, 4, 1]], [[0, 0, 0], [1, 1, 2]], [[None, None, 0], [1, 1, 2]], [[None, None, 0]] * 2],
    ),
}
FORMATS = {"classification": "folder", "regression": "t.csv", "counting": "p.json", "pose": "k.json"}


def project_of(folder: Path, task: str, ids: list[str] = IDS, name: str = "project") -> Project:
    for sample in ids:
        (folder / "pictures" / sample).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10)).save(folder / "pictures" / sample)
    return Project.init(folder / name, folder / "pictures", task, TASKS[task][0])


def state(project: Project) -> tuple[Any, Any, Any]:
    ledger = project.ledger
    return ledger.labelled(), ledger.skipped(), {sample: source for sample, _, source, _ in ledger.answered()}


@pytest.mark.parametrize(("task", "name"), [(t, n) for t in TASKS for n in ("a.csv", "a.jsonl", FORMATS[t])])
def test_collected_answers_give_the_same_answers_skips_and_sources_again(tmp_path: Path, task: str, name: str) -> None:
    with project_of(tmp_path, task) as project:
        project.ledger.ask(None, [(sample, None) for sample in IDS], "a test")
        given = dict(zip(IDS, TASKS[task][1], strict=False))
        project.ingest(dict(list(given.items())[:2]), "ann")
        project.ingest(dict(list(given.items())[2:]), "Label Studio, user 2")
        project.revise({IDS[0]: TASKS[task][1][1]}, "ben")
        project.skip(["e.png"], "blurred, or not")
        project.skip(["=d.png"], "=dark")
        project.undo(["=d.png"])
        for _ in range(1 if name == "folder" else 2):  # a file that holds nothing else is replaced
            assert project.export_answers(tmp_path / name) == 5
        whole = state(project)
        project.revise({IDS[0]: TASKS[task][1][2]}, "ben")
        with pytest.raises(DataError, match="write to another one"):
            project.export_answers(tmp_path / name)
    with project_of(tmp_path, task, name="other") as other:
        done = other.ingest(tmp_path / name, allow_unasked=True)
        assert (done.new, done.skipped) == (4, 1)
        assert state(other) == whole
        other.undo()
        assert state(other) == ({}, {}, {})


def test_the_command_writes_answers_with_who_and_when(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with project_of(tmp_path, "regression") as project:
        project.ingest({"a.png": 1.5}, "ann", allow_unasked=True)
        folder = str(project.layout.folder)
    assert main(["export", folder, str(tmp_path / "a.jsonl"), "--answers"]) == 0
    (row,) = map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())
    assert (row["id"], row["answer"], row["source"], row["time"][:2]) == ("a.png", 1.5, "ann", "20")
    assert main(["ingest", folder, str(tmp_path / "a.jsonl")]) == 0
    assert main(["revise", folder, "a.png", "12,5"]) == 2
    assert "'12,5' is no number; use 12.5" in capsys.readouterr().err


def ingested(project: Project, ids: list[str]) -> tuple[set[str], list[str]]:
    """The pictures that answers under these ids are about, and what was left out."""
    answers = Answers([Given(sample, float(place), f"line {place}") for place, sample in enumerate(ids)])
    done = project.ingest(answers, "x", allow_unasked=True, keep_good=True)
    return set(project.ledger.labelled()), done.left_out


@pytest.mark.parametrize(
    ("pictures", "ids", "found", "reason"),
    [
        (["a.png", "s/b.png"], ["images/default/a.png", "images/default/s/b.png"], {"a.png", "s/b.png"}, ""),
        (["a.png", "s/b.png"], ["my/export/a.png", "my/export/s/b.png"], {"a.png", "s/b.png"}, ""),
        (["a.png", "b.png"], ["one/a.png", "two/b.png"], set(), "does not know"),
        (["a.png", "b.png"], ["one/a.png", "one/c.png"], set(), "does not know"),
        (["s/a.png", "t/b.png"], ["a.png", "b.png"], {"s/a.png", "t/b.png"}, ""),
        (["s/a.png", "t/a.png"], ["a.png"], set(), "may be s/a.png, t/a.png"),
        (["a.png", "b.png"], ["a.png", "images/a.png"], {"a.png"}, "may be a.png, and so may another"),
        (["a.png", "s/a.png"], ["x/s/a.png"], set(), "does not know"),
        (["a\u0301.png"], ["\u00e1.png"], {"a\u0301.png"}, ""),
        (["s/a.png"], ["s\\a.png"], {"s/a.png"}, ""),
        (["passwd.png"], ["../etc/passwd.png"], set(), "climb out"),
        (["passwd.png"], ["/etc/passwd.png"], set(), "climb out"),
    ],
)
def test_ids_with_folders_that_tools_add_or_drop(
    tmp_path: Path, pictures: list[str], ids: list[str], found: set[str], reason: str
) -> None:
    with project_of(tmp_path, "regression", pictures) as project:
        taken, left_out = ingested(project, ids)
    assert taken == found
    assert (reason in " ".join(left_out)) if reason else not left_out


@pytest.mark.parametrize(
    ("task", "answer", "good"),
    [
        ("counting", [[19, 9], [-1, -1], [20, 10]], True),
        ("counting", [[5, 5], [500, 5]], False),
        ("counting", [[5, 12]], False),
        ("pose", [[500, 5, 2], [1, 1, 2]], False),
        ("pose", [[500, 5, 0], [1, 1, 2]], True),
    ],
)
def test_places_lie_in_their_picture(tmp_path: Path, task: str, answer: Any, good: bool) -> None:
    with project_of(tmp_path, task, ["a.png"]) as project:
        if good:
            assert project.ingest({"a.png": answer}, allow_unasked=True).new == 1
            return
        message = r"a.png: x (500|5), y (5|12) is outside of its picture of 20 x 10 pixels"
        with pytest.raises(DataError, match=message):
            project.ingest({"a.png": answer}, allow_unasked=True)
        project.ingest({"a.png": TASKS[task][1][0]}, allow_unasked=True)
        with pytest.raises(DataError, match="outside of its picture"):
            project.revise({"a.png": answer})


def test_the_next_step_follows_the_way_that_answers_came(tmp_path: Path) -> None:
    with project_of(tmp_path, "regression") as project:
        project.ledger.ask(None, [(sample, None) for sample in IDS], "a test")
        assert "lossrank export" in project.status().next
        project.ingest({"a.png": 1.0}, "Label Studio, user 1")
        assert "lossrank label-studio sync" in project.status().next
        project.ingest({"b.png": 1.0}, "b.csv")
        assert "lossrank ingest" in project.status().next
