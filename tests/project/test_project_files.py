"""The files of a project: what is never overwritten, what a kill leaves, and what cannot be read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lossrank import Project
from lossrank.cli import main
from lossrank.errors import DataError, LedgerError, LossrankError, RunError
from lossrank.folder import append_line
from lossrank.project import layout
from lossrank.project.page import write_project_page

IDS = [f"{name}.png" for name in "abcdefgh"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for shade, sample in enumerate(IDS):
        Image.new("L", (8, 8), 20 * shade).save(tmp_path / "photos" / sample)
    return tmp_path / "photos"


@pytest.fixture
def project(tmp_path: Path, photos: Path) -> Iterator[Project]:
    """Eight pictures, of which a, b, c and d were asked in this order."""
    with Project.init(tmp_path / "p", photos, names=["cat", "dog"]) as made:
        made.ledger.ask(None, [(i, None) for i in IDS[:4]], "test", made.layout.digests(IDS[:4]))
        yield made


ANSWERED = {
    "an answer": ("next.csv", "id,answer,skip\na.png,cat,\n"),
    "a skip": ("next.csv", "id,answer,skip\na.png,,blurred\n"),
    "an answer with a typing error": ("next.csv", "id,answer,skip\na.png,Cta,\n"),
    "an answer as JSON": ("next.jsonl", '{"id": "a.png", "answer": "cat"}\n'),
    "something else": ("next.csv", "my,notes\n1,2\n"),
}


@pytest.mark.parametrize("command", ["select", "export"])
@pytest.mark.parametrize(("name", "text"), ANSWERED.values(), ids=ANSWERED)
def test_a_file_with_a_persons_work_is_never_overwritten(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str, text: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    out = ["--out", str(path)] if command == "select" else [str(path)]
    assert main([command, str(project.layout.folder), *out]) == 2
    assert path.read_text() == text
    assert f"next-2{path.suffix}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["next.csv", "next.jsonl"])
def test_unanswered_questions_are_written_again(project: Project, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert project.export(path) == 4
    project.skip([IDS[0]], "blurred")
    assert project.export(path) == 3
    assert IDS[0] not in path.read_text()


def test_class_folders_are_not_made_among_the_pictures(project: Project, photos: Path) -> None:
    with pytest.raises(LossrankError, match="must not be below the pictures"):
        project.export(photos / "sorted")


def test_a_report_replaces_a_report_and_nothing_else(project: Project, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_project_page(project, page)
    write_project_page(project, page)
    page.write_text("id,answer\na.png,cat\n")
    with pytest.raises(RunError, match="is no page of lossrank"):
        write_project_page(project, page)
    assert page.read_text().endswith("cat\n")


def test_the_hint_names_the_file_to_answer_in(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["select", str(project.layout.folder), "--out", str(tmp_path / "my next.csv")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Next: answer in" in printed
    assert "lossrank export" not in printed


class Killed(BaseException):
    """Stands for a SIGKILL: nothing after it runs in this process."""


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_init_again_completes_what_a_killed_one_left(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Killed before the ledger is written, after it, after the recipe, and after the mark."""
    written = []

    def write(path: Path, content: str) -> None:
        if len(written) + 1 == at:
            raise Killed
        real(path, content)
        written.append(path)
        if at == 3 and len(written) == 2:
            raise Killed

    real = layout.write_atomic
    with monkeypatch.context() as patch:
        patch.setattr(layout, "write_atomic", write)
        if at == 0:
            patch.setattr(layout.Ledger, "add", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            Project.init(tmp_path / "p", photos, names=["cat", "dog"])
    if at < 3:
        Project.init(tmp_path / "p", photos, names=["cat", "dog"], step=7).close()
    with Project.open(tmp_path / "p") as project:
        assert project.status().pool == 8
        assert project.recipe().budget.step == (7 if at < 3 else 40)


def test_a_folder_that_version_0_1_left_half_made_is_completed(photos: Path, tmp_path: Path) -> None:
    Project.init(tmp_path / "p", photos, names=["cat", "dog"]).close()
    (tmp_path / "p" / "ledger.sqlite").unlink()
    Project.init(tmp_path / "p", photos, names=["cat", "dog"]).close()
    with Project.open(tmp_path / "p") as project:
        assert project.status().pool == 8


def test_answers_without_a_mark_are_not_replaced_by_init(project: Project, photos: Path, tmp_path: Path) -> None:
    project.ingest({IDS[0]: "cat"})
    (tmp_path / "p" / "project.json").unlink()
    with pytest.raises(RunError, match="holds questions or answers, but"):
        Project.init(tmp_path / "p", photos, names=["cat", "dog"])
    assert project.ledger.labelled() == {IDS[0]: "cat"}


@pytest.mark.parametrize(
    "names", [("\U0001f600", "c"), ("a\x85b", "c"), ("a\x7fb", "c"), ("a\u2028b", "yes")], ids=ascii
)
@pytest.mark.parametrize("folder", ["holiday \U0001f600", "\U00020bb7\u91ce", "a\x85b\u2028c", 'a "b": #c'], ids=ascii)
def test_paths_and_names_of_any_characters_are_read_back(
    photos: Path, tmp_path: Path, folder: str, names: tuple[str, ...]
) -> None:
    photos.rename(tmp_path / folder)
    Project.init(tmp_path / "p", tmp_path / folder, names=names).close()
    with Project.open(tmp_path / "p") as project:
        assert project.vocabulary.names == names
        assert project.layout.images.resolve() == (tmp_path / folder).resolve()
        assert project.add() == 0


def test_project_and_pictures_move_together(project: Project, photos: Path, tmp_path: Path) -> None:
    project.close()
    (tmp_path / "elsewhere").mkdir()
    for name in ("p", "photos"):
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
    with Project.open(tmp_path / "elsewhere" / "p") as moved:
        assert moved.ingest({IDS[0]: "cat"}).new == 1


@pytest.mark.parametrize("verb", ["add", "select", "ingest", "export"])
def test_a_moved_picture_folder_is_one_message_that_names_the_recipe(
    project: Project, photos: Path, tmp_path: Path, verb: str
) -> None:
    photos.rename(tmp_path / "moved")
    calls: dict[str, Any] = {
        "add": project.add,
        "select": lambda: project.select(more=True),
        "ingest": lambda: project.ingest({IDS[0]: "cat"}),
        "export": lambda: project.export(tmp_path / "folders"),
    }
    with pytest.raises(DataError, match=r"behind `data:` in .*recipe\.yaml"):
        calls[verb]()


def test_the_rest_of_a_batch_is_asked_where_a_sample_was_answered_meanwhile(project: Project) -> None:
    project.ingest(dict.fromkeys(IDS[:4], "cat"))
    row = {"batch": 1, "reason": "entropy", "questions": [{"id": i, "score": 0.5} for i in IDS[4:7]]}
    append_line(project.layout.folder / "batches.jsonl", json.dumps(row))  # and then the process is killed
    project.ingest({IDS[5]: "dog"}, allow_unasked=True)
    assert [q.sample for q in project.select()] == [IDS[4], IDS[6]]
    assert project.ledger.reasons(IDS[4:7]) == {
        IDS[4]: "entropy",
        IDS[5]: "answered unasked, in python",
        IDS[6]: "entropy",
    }


def test_a_missing_ledger_is_an_error_of_every_verb(project: Project, tmp_path: Path) -> None:
    project.close()
    (tmp_path / "p" / "ledger.sqlite").unlink()
    (tmp_path / "a.csv").write_text(f"id,answer\n{IDS[0]},cat\n")
    verbs = [[name] for name in ("status", "report", "add", "select", "undo")]
    verbs += [["export", str(tmp_path / "x.csv")], ["ingest", str(tmp_path / "a.csv")]]
    verbs += [["revise", IDS[0], "dog"], ["skip", IDS[0]], ["retire", IDS[0]]]
    for verb in verbs:
        assert main([verb[0], str(tmp_path / "p"), *verb[1:]]) == 2
    assert not (tmp_path / "p" / "ledger.sqlite").exists()


DAMAGED = {
    "recipe.yaml": ["task: classification\ndata: 5\n", "data: x\ndataset_options: 3\n", "data: [x\n", "- 1\n"],
    "project.json": ["", "1", '{"format": "1"}'],
    "rounds.jsonl": ["1\n", "{}\n", '{"round": 0, "labelled": 4, "metric": {}, "chosen_by": "r", "reason": "r"}\n'],
    "batches.jsonl": [
        *("3\n", "{}\n", f'{{"questions": [{{"id": "a", "score": {"9" * 400}}}]}}\n'),
        *('{"questions": [{}]}\n', '{"questions": [{"id": "a", "score": "x"}]}\n'),
    ],
}
FINE_ROUND: dict[str, Any] = {
    "round": 0,
    "labelled": 4,
    "chosen_by": "random",
    "reason": "a test",
    "form": {},
    "health": None,
    "metric": {"name": "accuracy", "value": 0.5, "unit": "%", "higher_is_better": True},
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in DAMAGED.items() for text in texts])
def test_a_damaged_file_is_one_error_that_names_it(project: Project, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "p" / name).write_text(text)

    def read() -> None:
        with Project.open(tmp_path / "p") as opened:
            opened.status()
            write_project_page(opened, tmp_path / "r.html")

    with pytest.raises(LossrankError, match=name.replace(".", r"\.")):
        read()


@pytest.mark.parametrize("number", [10**400, 2**64], ids=["long", "64 bit"])
@pytest.mark.parametrize("field", ["labelled", "value", "loss", "spearman"])
def test_a_number_beyond_every_float_is_damage(project: Project, tmp_path: Path, field: str, number: int) -> None:
    row = json.loads(json.dumps(FINE_ROUND))
    if field == "value":
        row["metric"]["value"] = number
    elif field == "loss":
        row["learned"] = [{"id": "a.png", "label": "cat", "prediction": {}, "loss": number}]
    elif field == "spearman":
        row["health"] = {"scores": {"entropy": {"spearman": [10**400, 0, 1]}}}
    else:
        row[field] = number
    (tmp_path / "p" / "rounds.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(RunError, match=r"rounds\.jsonl line 1.* is damaged"):
        project.status()


def test_a_metric_that_is_no_number_leaves_the_status_readable(project: Project, tmp_path: Path) -> None:
    rows = [FINE_ROUND | {"round": n, "labelled": 4 + n} for n in range(6)]
    rows[2] = rows[2] | {"metric": FINE_ROUND["metric"] | {"value": float("nan")}}
    (tmp_path / "p" / "rounds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert project.status().forecast is not None


PREDICTIONS: dict[str, list[Any]] = {
    "classification": ["cat", "bird", 5, ["cat"]],
    "regression": [1.5, "cat", 10**400, [1.5]],
    "counting": [{"count": 2.5, "points": [[1, 2]]}, {"points": [[1, 2]]}, {"count": 1, "points": [[1]]}, [[1, 2]]],
    "pose": [[[1, 2, 2], [3, 4, 2]], [[1, 2, 2]], [1, 2], {"joints": 5}],
}


@pytest.mark.parametrize("task", PREDICTIONS)
def test_a_prediction_that_is_none_under_the_present_recipe_is_left_out(
    photos: Path, tmp_path: Path, task: str
) -> None:
    names = {"classification": ["cat", "dog"], "pose": ["left", "right"]}.get(task, [])
    with Project.init(tmp_path / "p", photos, task, names) as project:
        project.ledger.ask(0, [(i, None) for i in IDS[:4]], "test", project.layout.digests(IDS[:4]))
        said = [{"id": i, "prediction": p} for i, p in zip(IDS, PREDICTIONS[task], strict=False)]
        append_line(tmp_path / "p" / "batches.jsonl", json.dumps({"questions": said}))
        assert [q.prediction for q in project.questions()] == [PREDICTIONS[task][0], None, None, None]
        for name in ("a.csv", "a.jsonl", *{"counting": ["a.json"], "pose": ["a.json"]}.get(task, [])):
            assert project.export(tmp_path / name) == 4


def test_an_answer_that_comes_between_check_and_writing_is_not_corrected_in_silence(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Project.open(tmp_path / "p") as other:
        real = project.layout.__class__.digests

        def digests(self: Any, ids: Any) -> Any:
            monkeypatch.setattr(type(project.layout), "digests", real)
            other.ingest({IDS[0]: "dog"})
            return real(self, ids)

        monkeypatch.setattr(type(project.layout), "digests", digests)
        with pytest.raises(DataError, match="differ from the known answer"):
            project.ingest({IDS[0]: "cat"})
    assert project.ledger.labelled() == {IDS[0]: "dog"}


def test_readers_leave_the_folder_as_it_is(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    append_line(folder / "batches.jsonl", json.dumps({"reason": "r", "questions": [{"id": IDS[0]}]}))
    with (folder / "batches.jsonl").open("a") as file:
        file.write('{"reason": "being wri')
    before = {name: (folder / name).read_bytes() for name in os.listdir(folder) if "-shm" not in name}  # SQLite's locks
    with Project.open(folder) as reader:
        reader.status()
        reader.questions()
        write_project_page(reader, tmp_path / "r.html")
        reader.export(tmp_path / "next.csv")
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_undo_takes_back_a_file_with_answers_corrections_and_skips(project: Project, tmp_path: Path) -> None:
    project.ingest({IDS[1]: "dog"})
    file = tmp_path / "done.csv"
    file.write_text(f"id,answer,skip\n{IDS[0]},cat,\n{IDS[1]},cat,\n{IDS[2]},,dark\n{IDS[3]},,blurred\n")
    project.ingest(file, revise=True)
    assert main(["undo", str(project.layout.folder)]) == 0
    assert project.ledger.labelled() == {IDS[1]: "dog"}
    assert [q.sample for q in project.questions()] == [IDS[0], IDS[2], IDS[3]]
    with pytest.raises(LedgerError, match="no answer, correction"):
        project.undo([IDS[2]])
