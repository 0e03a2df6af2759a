"""What a person meets who labels through the command line: words, counts and odd names."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from small_project import Labelling

from lossrank import Project
from lossrank.choosing import Choice
from lossrank.cli import main
from lossrank.console import PlainConsole
from lossrank.errors import MissingExtra
from lossrank.project.progress import StageBar

ODD = ["[bold]x[/bold]", 'it\'s "q"', "rtl \u202eabc", "new\nline", "tab\there", "-rf", "\x1b[31mred", "ü" * 100]


def run(capsys: pytest.CaptureFixture[str], *command: object) -> str:
    """What a command prints, errors included."""
    capsys.readouterr()
    main([str(word) for word in command])
    shown = capsys.readouterr()
    return shown.out + shown.err


def test_scores_are_shown_as_percentiles_and_kept_in_files(
    labelling: Callable[..., Labelling], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    project = labelling()
    project.recipe(strategy="entropy")
    assert "percentile" not in run(capsys, "select", project.folder)
    project.answer()
    shown = run(capsys, "select", project.folder, "--out", tmp_path / "next.csv")
    assert "rank  id      percentile  the model says" in shown
    questions = project.rows("batches")[-1]["questions"]
    assert [q["percentile"] for q in questions] == sorted((q["percentile"] for q in questions), reverse=True)
    assert all(80 < q["percentile"] < 100 for q in questions), "4 of 24 candidates"
    with (tmp_path / "next.csv").open(newline="") as file:
        assert [float(row["score"]) for row in csv.DictReader(file)] == [q["score"] for q in questions]
    page = run(capsys, "report", project.folder) and (project.folder / "report.html").read_text()
    assert "<span>percentile 9" in page
    assert "<span>score" not in page


def test_a_percentile_counts_equal_scores_by_half() -> None:
    ranking = [("a", 3.0), ("b", 1.0), ("c", 1.0), ("d", -2.0)]
    found = Choice([("a", 3.0), ("c", 1.0), ("x", None)], ranking).percentiles()
    assert found == {"a": 87.5, "c": 50.0}
    assert Choice([("a", None)]).percentiles() == {}


def test_the_first_batch_counts_the_pictures_and_says_what_would_choose_better(
    labelling: Callable[..., Labelling], capsys: pytest.CaptureFixture[str]
) -> None:
    project, stages = labelling(), list[str]()
    seen: dict[str, list[tuple[int, int]]] = {}
    with Project.open(project.folder) as opened:
        opened.select(
            on_stage=stages.append,
            on_epoch=lambda done, total: seen.setdefault(stages[-1], []).append((done, total)),
            on_note=print,
        )
    assert seen["pictures"][-1] == seen["embed"][-1] == (40, 40)
    assert "-m pip install efficientnet_lite_pytorch" in capsys.readouterr().out
    assert "pip" not in project.reasons()[0], "a ledger holds no path of the machine"


def test_every_stage_of_a_training_counts(labelling: Callable[..., Labelling]) -> None:
    project, stages = labelling(), list[str]()
    project.select()
    project.answer()
    seen: dict[str, list[tuple[int, int]]] = {}
    with Project.open(project.folder) as opened:
        opened.select(
            on_stage=stages.append,
            on_epoch=lambda done, total: seen.setdefault(stages[-1], []).append((done, total)),
        )
    assert seen["train"] == [(1, 3), (2, 3), (3, 3)]
    assert seen["health"] == [(epoch, 6) for epoch in range(1, 7)], "two folds of three epochs"


def test_a_terminal_shows_the_stage_its_count_and_the_time_to_go() -> None:
    terminal = PlainConsole(force_terminal=True, width=100, file=io.StringIO(), legacy_windows=False)
    with StageBar(terminal) as bar:
        bar.stage("embed")
        bar.progress(64, 3000)
        bar._bars.refresh()
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "comparing the pictures" in shown
    assert "64/3000" in shown
    assert ":--" in shown or "0:" in shown, "the time to go"


def test_undo_says_how_many_of_each_kind_and_from_which_file(
    labelling: Callable[..., Labelling], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    project = labelling()
    project.select()
    with Project.open(project.folder) as opened:
        first, *rest = [q.sample for q in opened.questions()]
    lines = [f"{first},,blurred", *(f"{sample},{project.truth[sample]}," for sample in rest)]
    (tmp_path / "done.csv").write_text("id,answer,skip\n" + "\n".join(lines) + "\n")
    run(capsys, "ingest", project.folder, tmp_path / "done.csv")
    assert "Taken back: 15 answers, 1 skip, from done.csv: " in run(capsys, "undo", project.folder)


def test_the_next_step_is_by_the_way_that_the_latest_answers_came(
    labelling: Callable[..., Labelling], capsys: pytest.CaptureFixture[str]
) -> None:
    project = labelling()
    project.select()
    project.answer()
    shown = " ".join(run(capsys, "status", project.folder).split())
    assert "Next: choose the next batch: lossrank select" in shown
    assert "--out NEW_FILE" in shown
    for source, hint in (("Label Studio, user 2", "label-studio push"), ("ann", None)):
        with Project.open(project.folder) as opened:
            sample, answer = opened.ledger.labelled().popitem()
            opened.revise({sample: "dark" if answer == "grey" else "grey"}, source)
        shown = " ".join(run(capsys, "status", project.folder).split())
        assert "NEW_FILE" not in shown
        assert ("label-studio push" in shown) == (hint is not None)


def test_pictures_that_moved_give_one_message_and_move_together_with_the_project(
    labelling: Callable[..., Labelling], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    project = labelling()
    project.select("--out", str(tmp_path / "next.csv"))
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    for verb in (["status"], ["report"], ["select"], ["add"], ["export"], ["ingest"]):
        file = [tmp_path / "next.csv"] if verb[0] in ("export", "ingest") else []
        shown = run(capsys, *verb, project.folder, *file)
        if verb == ["report"]:
            shown = (project.folder / "report.html").read_text()
        sentence = f"there is no folder {tmp_path / 'photos'} of pictures"
        assert sentence in " ".join(shown.split()).replace("/ ", "/") or sentence.replace(" ", "") in "".join(
            shown.split()
        ), verb
        assert "data:" in shown
    (tmp_path / "new").mkdir()
    (tmp_path / "elsewhere").rename(tmp_path / "new" / "photos")
    shutil.move(project.folder, tmp_path / "new" / "p")
    assert "answer 16 open questions" in run(capsys, "status", tmp_path / "new" / "p")


def test_a_picture_that_cannot_be_read_is_named_in_plain_words(
    labelling: Callable[..., Labelling], capsys: pytest.CaptureFixture[str]
) -> None:
    project = labelling()
    (project.folder.parent / "photos" / "broken.jpg").write_bytes(b"\xff\xd8junk")
    run(capsys, "add", project.folder)
    project.select()
    shown = run(capsys, "status", project.folder)
    assert "cannot be read: broken.jpg (not a picture, or its beginning is damaged)\n" in shown
    with Project.open(project.folder) as opened:
        assert "6 bytes, modified at" in opened.ledger.retired()["broken.jpg"], "kept, to see a change by"


def test_odd_names_of_folders_reach_neither_terminal_nor_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for place, name in enumerate(ODD):
        (tmp_path / "in [v1]" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (30 * place, 0, 0)).save(tmp_path / "in [v1]" / name / f"{place}.png")
    folder = tmp_path / "p [/b]"
    begin = ["init", "--images", tmp_path / "in [v1]", "--classes", "a,b", "--out", folder, "--initial", 8]
    shown = run(capsys, *begin)
    with Project.open(folder) as opened:
        ids = opened.ledger.added()
        opened.ledger.ask(None, [(sample, None) for sample in sorted(ids)], "a test", {})
    shown += run(capsys, "select", folder, "--out", tmp_path / "next.csv")
    rows = [line for line in shown.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
    assert len(rows) >= 8, "each id begins one line of the table"
    shown += run(capsys, "skip", folder, "new\nline/3.png") + run(capsys, "revise", folder, "tab\there/4.png", "A")
    run(capsys, "undo", folder)
    (tmp_path / "a.jsonl").write_text('{"id": "new\\nline/3.png", "answer": "a"}\n')
    run(capsys, "ingest", folder, tmp_path / "a.jsonl")
    revised = run(capsys, "revise", folder, "new\nline/3.png", "b")
    assert revised == "new\\nline/3.png is now b\n"
    undone = run(capsys, "undo", folder)
    assert undone == "Taken back: 1 correction, from command line: new\\nline/3.png\n"
    shown += revised + undone + run(capsys, "status", folder) + run(capsys, "report", folder)
    page = (folder / "report.html").read_text()
    for text in (shown, page):
        assert not set("\x1b\u202e\t\r") & set(text.replace("\\t", ""))
    assert "[bold]x[/bold]/0.png" in shown


def test_the_report_counts_classes_and_mistakes_and_draws_no_curve_of_one_round(
    labelling: Callable[..., Labelling], capsys: pytest.CaptureFixture[str]
) -> None:
    project = labelling()
    project.select()
    project.answer()
    project.select()
    (row,) = project.rows("rounds")
    wrong = round((1 - row["metric"]["value"]) * row["health"]["samples"])
    assert sum(pair["count"] for pair in row["confusions"]) == wrong
    assert all(pair["label"] != pair["prediction"] for pair in row["confusions"])
    row["confusions"] = [{"label": "dark", "prediction": "light <b>", "count": 7}]
    (project.folder / "rounds.jsonl").write_text(json.dumps(row) + "\n")
    run(capsys, "report", project.folder)
    page = (project.folder / "report.html").read_text()
    counts = {name: row["class_histogram"].get(name, 0) for name in ("dark", "grey", "light")}
    for name, count in counts.items():
        assert f"<td><bdi>{name}</bdi></td><td><bdi>{count}</bdi></td>" in page
    assert "<td><bdi>dark</bdi></td><td><bdi>light &lt;b&gt;</bdi></td><td><bdi>7</bdi></td>" in page
    assert "<svg" not in page
    assert "with 16 labels" in page
    assert page.count('<label class="zoom"><input type="checkbox"') == page.count("<img") > 0


def test_the_command_of_a_missing_extra_names_its_packages() -> None:
    with (Path(__file__).parents[2] / "pyproject.toml").open("rb") as file:
        extras = tomllib.load(file)["project"]["optional-dependencies"]
    for extra in ("trunks", "accelerate", "diffsort", "label-studio"):
        message = str(MissingExtra("what it needs", extra, "a test"))
        assert " -m pip install " in message
        assert all(package in message for package in extras[extra])
        assert "lossrank[" not in message
