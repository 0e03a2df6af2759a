"""A project's verbs without training: what is refused, what is kept, what is never asked twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from lossrank import Project
from lossrank.assembly import build_strategy
from lossrank.cli import main
from lossrank.errors import ConfigError, DataError, LedgerError, RunError
from lossrank.folder import FolderLock, append_line
from lossrank.project.status import forecast_of
from lossrank.strategies import STRATEGIES

IDS = [f"sub/{name}.png" for name in "abcdefgh"]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Eight pictures, of which a, b, c and d were asked in this order."""
    for shade, sample in enumerate(IDS):
        file = tmp_path / "photos" / sample
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 20 * shade).save(file)
    with Project.init(tmp_path / "p", tmp_path / "photos", names=["cat", "dog"]) as made:
        made.ledger.ask(None, [(i, None) for i in IDS[:4]], "test", made.layout.digests(IDS[:4]))
        yield made


def kinds(project: Project) -> list[str]:
    return [event.kind for event in project.ledger.history() if event.kind not in ("add", "ask")]


def test_a_half_answered_batch_continues_and_nothing_is_asked_twice(project: Project) -> None:
    assert [q.sample for q in project.questions()] == IDS[:4]
    done = project.ingest({IDS[2]: "cat"})
    assert (done.new, done.same) == (1, 0)
    project.skip([IDS[0]], "blurred")
    assert [(q.rank, q.sample) for q in project.select()] == [(1, IDS[1]), (2, IDS[3])]
    status = project.status()
    counts = (status.pool, status.labelled, status.open, status.skipped, status.corrected, status.retired)
    assert counts == (4, 1, 2, 1, 0, 0)
    assert "answer 2 open questions" in status.next


TROUBLE = {
    "climb": ('{"id": "../secret.png", "answer": "cat"}', "1 have ids that climb out of the folder: ../secret.png"),
    "drive": ('{"id": "C:\\\\x.png", "answer": "cat"}', "climb out of the folder"),
    "unknown": (
        '{"id": "sub/z.png", "answer": "cat"}',
        "1 have ids that the project does not know: sub/z.png (line 2)",
    ),
    "unasked": ('{"id": "sub/h.png", "answer": "cat"}', "1 are about samples never asked (--allow_unasked takes them)"),
    "twice": ('{"id": "sub/b.png", "answer": "dog"}', "sub/b.png (line 1: 'cat'; line 2: 'dog')"),
    "skip": ('{"id": "sub/b.png", "skip": "dark"}', "(line 1: 'cat'; line 2: skipped)"),
    "class": ('{"id": "sub/c.png", "answer": "cow"}', "line 2: sub/c.png: 'cow' is none of the 2 classes: cat, dog"),
    "json": ('{"id": "sub/c.png", ', "line 2 is not JSON"),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_trouble_in_a_file_is_listed_and_nothing_is_taken_in(project: Project, tmp_path: Path, name: str) -> None:
    line, message = TROUBLE[name]
    path = tmp_path / "a.jsonl"
    good = '{"id": "sub/d.png", "answer": "dog"}'
    path.write_text(f'{{"id": "sub/b.png", "answer": "cat"}}\n{line}\n{good}\n')
    with pytest.raises(DataError) as told:
        project.ingest(path)
    assert message in str(told.value)
    assert "Nothing was taken in" in str(told.value)
    assert kinds(project) == []
    done = project.ingest(path, keep_good=True)
    assert project.ledger.labelled() == ({"sub/b.png": "cat"} if name not in ("twice", "skip") else {}) | {
        "sub/d.png": "dog"
    }
    assert len(done.left_out) == 1


def test_allowed_answers_to_no_question_come_last_in_order(project: Project) -> None:
    done = project.ingest({IDS[7]: "cat", IDS[0]: "dog"}, allow_unasked=True)
    assert (done.new, done.unasked) == (2, 1)
    assert list(project.ledger.labelled()) == [IDS[0], IDS[7]]
    assert [event.source for event in project.ledger.history() if event.kind == "ask"][-1] == (
        "answered unasked, in python"
    )


def test_spellings_of_a_path_are_one_id(project: Project) -> None:
    assert project.ingest({"sub\\a.png": "cat", "./sub/b.png": "dog"}).new == 2
    assert list(project.ledger.labelled()) == IDS[:2]


def test_an_old_file_read_again_takes_no_correction_back(project: Project) -> None:
    project.ingest({IDS[0]: "cat"})
    project.revise({IDS[0]: "dog"})
    done = project.ingest({IDS[0]: "cat"})
    assert (done.new, done.same, done.corrected) == (0, 1, 0)
    assert project.ledger.labelled() == {IDS[0]: "dog"}
    assert project.ingest({IDS[0]: "cat"}, revise=True).corrected == 1  # asked for, it is a correction


def test_a_known_answer_again_and_another_one(project: Project) -> None:
    project.ingest({IDS[0]: "cat", IDS[1]: "cat"})
    with pytest.raises(DataError, match="differ from the known answer"):
        project.ingest({IDS[0]: "dog"})
    done = project.ingest({IDS[0]: "dog", IDS[1]: "cat"}, revise=True)
    assert (done.corrected, done.same) == (1, 1)
    assert project.ledger.labelled() == {IDS[0]: "dog", IDS[1]: "cat"}
    with pytest.raises(DataError, match="'cow' is none of"):
        project.revise({IDS[0]: "cow"})


def test_pictures_gone_or_changed_since_they_were_asked(project: Project, tmp_path: Path) -> None:
    (tmp_path / "photos" / IDS[0]).unlink()
    Image.new("L", (8, 8), 255).save(tmp_path / "photos" / IDS[1])
    with pytest.raises(DataError, match=r"2 are about pictures that are gone or changed .*sub/a.png.*sub/b.png"):
        project.ingest(dict.fromkeys(IDS[:3], "cat"))
    assert project.ledger.labelled() == {}
    assert project.ingest(dict.fromkeys(IDS[:3], "cat"), allow_changed=True).new == 3


def test_undo_is_a_new_entry_that_takes_back_all_answers_of_a_call(project: Project) -> None:
    project.ingest({IDS[0]: "cat", IDS[1]: "cat"}, source="wrong file")
    project.revise({IDS[0]: "dog"})
    assert [e.kind for e in project.undo()] == ["revise"]
    assert project.ledger.labelled() == {IDS[0]: "cat", IDS[1]: "cat"}
    assert [e.sample for e in project.undo()] == IDS[:2]
    assert project.ledger.labelled() == {}
    assert kinds(project) == ["answer", "answer", "revise", "undo", "undo", "undo"]
    assert project.status().open == 4
    project.ingest({IDS[0]: "dog"})
    assert project.ledger.labelled() == {IDS[0]: "dog"}
    project.retire([IDS[6]], "not ours")
    assert project.status().pool == 3
    project.undo([IDS[6]])
    assert project.status().pool == 4
    with pytest.raises(LedgerError, match=r"'sub/c.png' has no answer, correction, skip or retirement"):
        project.undo([IDS[2]])


def test_a_question_about_a_retired_picture_is_closed(project: Project) -> None:
    assert main(["retire", str(project.layout.folder), IDS[1]]) == 0
    assert [question.sample for question in project.questions()] == [IDS[0], *IDS[2:4]]
    assert project.status().open == 3


def test_strangers_are_not_skipped_or_retired(project: Project) -> None:
    with pytest.raises(LedgerError, match=r"1 samples were never asked and cannot be skipped: sub/h.png"):
        project.skip([IDS[7]], "x")
    with pytest.raises(LedgerError, match=r"1 samples are not in the project: nobody.png"):
        project.retire(["nobody.png"], "x")


def test_new_pictures_are_added_once(project: Project, tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "photos" / "new.png")
    assert project.add() == 1
    assert project.add() == 0
    assert project.status().pool == 5


def test_a_full_disk_during_ingest_keeps_all_that_was_there(project: Project, tmp_path: Path) -> None:
    project.ingest({IDS[0]: "cat"})
    connection = project.ledger._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    many = {IDS[1]: "dog", IDS[2]: "cat"}
    with pytest.raises(LedgerError, match="nothing of this call was kept"):
        project.ingest(many, source="s" * 20_000)
    assert project.ledger.labelled() == {IDS[0]: "cat"}
    connection.execute("PRAGMA max_page_count = 100000")
    assert project.ingest(many).new == 2


def test_two_selects_at_once_and_an_ingest_meanwhile(project: Project) -> None:
    with FolderLock(project.layout.folder):
        with pytest.raises(RunError, match="is in use by process"):
            project.select()
        assert project.ingest({IDS[0]: "cat"}).new == 1


def test_a_select_killed_before_it_asked_asks_what_it_had_chosen(project: Project) -> None:
    project.ingest(dict.fromkeys(IDS[:4], "cat"))
    row = {
        "batch": 1,
        "reason": "entropy",
        "questions": [{"id": i, "score": 0.5, "prediction": "dog"} for i in IDS[5:7]],
    }
    append_line(project.layout.folder / "batches.jsonl", json.dumps(row))
    found = project.select()
    assert [(q.sample, q.score, q.prediction) for q in found] == [(i, 0.5, "dog") for i in IDS[5:7]]
    assert [c.sample for c in project.ledger.batch(1)] == IDS[5:7]


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_a_recipe_builds_each_strategy_with_nothing_but_its_name_changed(project: Project, name: str) -> None:
    recipe = project.layout.folder / "recipe.yaml"
    told = recipe.read_text()
    assert "strategy: auto " in told
    recipe.write_text(told.replace("strategy: auto ", f"strategy: {name} "))
    assert type(build_strategy(project.recipe())) is STRATEGIES[name]


def test_projects_that_are_none(project: Project, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    with pytest.raises(RunError, match="holds a project or a run already"):
        Project.init(tmp_path / "p", photos, names=["cat", "dog"])
    with pytest.raises(RunError, match=r"is no project: it has no project\.json"):
        Project.open(photos)
    with pytest.raises(ConfigError, match="classes are \\['cat'\\]; needed are 2 or more"):
        Project.init(tmp_path / "q", photos, names=["cat"])
    with pytest.raises(DataError, match="there is no folder"):
        Project.init(tmp_path / "q", tmp_path / "none", names=["cat", "dog"])
    assert not (tmp_path / "q").exists()
    (tmp_path / "p" / "project.json").write_text('{"format": 99}')
    with pytest.raises(RunError, match="format 99 by a newer lossrank"):
        Project.open(tmp_path / "p")


def test_select_tells_a_project_from_two_folders(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(project.layout.folder)
    assert main(["select", folder]) == 0
    assert "sub/a.png" in capsys.readouterr().out
    assert main(["select", folder, str(tmp_path / "photos")]) == 2
    assert "is a project" in capsys.readouterr().err
    assert main(["select", folder, "--epochs", "3"]) == 2
    assert "recipe.yaml says what --epochs would" in capsys.readouterr().err
    assert main(["select", str(tmp_path / "photos")]) == 2
    assert "without a project two folders are needed" in capsys.readouterr().err


def test_the_commands_say_what_they_did(project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, file = str(project.layout.folder), tmp_path / "a.csv"
    file.write_text("id,answer\nsub/a.png,cat\nsub/h.png,dog\n")
    assert main(["ingest", folder, str(file)]) == 2
    assert "never asked" in capsys.readouterr().err
    assert main(["ingest", folder, str(file), "--allow-unasked"]) == 0
    assert "2 new answers, 1 never asked" in capsys.readouterr().out
    assert main(["undo", folder, "sub/a.png"]) == 0
    assert "Taken back: 1 answer, from a.csv: sub/a.png" in capsys.readouterr().out
    assert main(["skip", folder, "sub/a.png", "sub/b.png", "--reason", "dark"]) == 0
    assert main(["retire", folder, "sub/g.png"]) == 0
    assert main(["status", folder]) == 0
    assert "pool 2   labelled 1   open 2   skipped 2   corrected 0   retired 1" in capsys.readouterr().out


def test_a_forecast_needs_a_curve() -> None:
    def rows(*values: float | None) -> list[dict[str, object]]:
        metric = {"higher_is_better": True, "unit": "%"}
        return [{"labelled": 40 + 30 * n, "metric": {**metric, "value": v}} for n, v in enumerate(values)]

    assert forecast_of(rows(None, 0.5, 0.6)) is None
    found = forecast_of(rows(0.5, 0.65, 0.72, 0.76, 0.79))
    assert found is not None
    assert found.next_labels == 30
    assert 0 < found.gain < 0.05, "the last gain was 0.03, and they shrink"
    assert found.low <= found.gain <= found.high
