"""Audit questions: drawn at random, never trained on, known for good; and what is said of the metric they give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_project import Labelling

from lossrank import Project
from lossrank.cli import main
from lossrank.experiment import Watcher
from lossrank.project.audit import AUDIT, audit_of, quota
from lossrank.project.measured import CROSS_FITTED, ON_AUDIT, ON_TEST
from lossrank.project.status import forecast_of
from lossrank.project.table import Table
from lossrank.tasks.intervals import interval_of_share

Make = Callable[..., Labelling]


def table_of(made: Labelling) -> Table:
    with Project.open(made.folder) as project:
        return Table(project.layout, project.recipe(), project.ledger, Watcher())


def audited(made: Labelling) -> set[str]:
    with Project.open(made.folder) as project:
        return project.ledger.asked_because(AUDIT)


def test_audit_answers_are_measured_on_and_never_trained_on(labelling: Make) -> None:
    made = labelling(audit=0.25)
    for _ in range(3):
        assert made.select() == 0
        made.answer()
    assert made.select() == 0
    known = audited(made)
    table = table_of(made)
    assert len(known) == 8, "5 of the first 16, then 1 of each 4"
    assert set(table.audited) < known, "the latest is not answered yet"
    assert not table.labels.keys() & known
    rows = made.rows("rounds")
    assert [row["labelled"] for row in rows] == [11, 14, 17]
    assert [row["metric"]["answers"] for row in rows] == [row["audit"] for row in rows] == [5, 6, 7]
    for row in rows:
        low, high = row["metric"]["interval"]
        assert row["measured"] == ON_AUDIT
        assert low <= row["metric"]["value"] <= high
        assert high - low > 0.1, "few answers give a wide interval"
    made.recipe(budget__audit=0)
    assert made.select("--more") == 0
    assert audited(made) == known, "none is drawn after the edit"
    assert set(table_of(made).audited) == set(table.audited), "those that were drawn stay held out"


@pytest.mark.parametrize("strategy", ["entropy", "random"])
def test_no_strategy_has_a_say_in_what_is_audited(labelling: Make, strategy: str) -> None:
    made = labelling(audit=0.25)
    made.recipe(strategy=strategy)
    with Project.open(made.folder) as project:
        before = audit_of(project.layout, project.ledger, project.ledger.added(), 0.25)
    for _ in range(3):
        assert made.select() == 0
        made.answer()
    known = audited(made)
    assert known == set(before.reserve[: len(known)]), "they were set aside before anyone was asked"
    chosen = {q["id"] for row in made.rows("batches") for q in row["questions"] if not q.get("audit")}
    assert not chosen & set(before.reserve)
    assert all(q["score"] is None for row in made.rows("batches") for q in row["questions"] if q.get("audit"))


def test_the_audit_is_a_random_sample_of_pictures_that_come_later_too(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "photos").mkdir()

    def add(name: str, count: int) -> None:
        for number in range(count):
            Image.new("RGB", (2, 2), (number % 256, number // 256, len(name))).save(
                tmp_path / "photos" / f"{name}{number}.png"
            )

    add("first", 300)
    with Project.init(tmp_path / "p", tmp_path / "photos", names=["a", "b"]) as project:
        before = audit_of(project.layout, project.ledger, project.ledger.added(), 0.1)
        assert len(before.reserve) == 30
        project.ledger.ask(None, [(i, None) for i in before.reserve[:15]], AUDIT)
        add("later", 300)
        assert project.add() == 300
        after = audit_of(project.layout, project.ledger, project.ledger.added(), 0.1)
        assert set(before.reserve[:15]) == after.asked
        later = [i.startswith("later") for i in after.reserve]
        assert sum(later) > len(later) / 2, "the new half catches up"


def test_exact_copies_of_audit_pictures_are_not_trained_on(labelling: Make) -> None:
    made = labelling(audit=0.25, count=24)
    photos = made.folder.with_name("photos")
    for path in sorted(photos.glob("*.png")):
        path.with_name(f"{path.stem}-copy.png").write_bytes(path.read_bytes())
    assert main(["add", str(made.folder)]) == 0
    truth = {i.replace(".png", end): answer for i, answer in made.truth.items() for end in (".png", "-copy.png")}
    for _ in range(3):
        assert made.select("--n", "8") == 0
        made.answer(truth)
    number = {sample[:2] for sample in audited(made)}
    assert len(number) == len(audited(made)) >= 5, "no picture is audited twice"
    assert not {sample[:2] for sample in table_of(made).labels} & number
    one = min(audited(made))
    copy = one.replace(".png", "-copy.png") if "copy" not in one else one.replace("-copy", "")
    with Project.open(made.folder) as project:
        project.ingest({copy: truth[copy]}, allow_unasked=True)
    assert copy not in table_of(made).labels, "an answer that nobody asked for leaks nothing either"


def test_where_nothing_else_is_left_the_rest_is_asked_and_held_out(labelling: Make) -> None:
    made = labelling(audit=0.1, count=20)
    assert made.select("--n", "30") == 0
    asked = [q for row in made.rows("batches") for q in row["questions"]]
    assert len(asked) == 20
    assert {q["id"] for q in asked if q.get("audit")} == audited(made)
    made.answer()
    assert made.select() == 0
    with Project.open(made.folder) as project:
        assert project.status().next.startswith("every picture was asked: new ones come with")


def test_an_old_project_goes_on_and_its_figure_is_said_to_be_too_high(
    labelling: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = labelling(audit=0)
    assert made.select() == 0
    made.answer()
    made.recipe(budget__audit=None)  # as a recipe of version 0.1, which has no such field
    assert made.select("--n", "10") == 0
    (row,) = made.rows("rounds")
    assert (row["measured"], row["metric"]["interval"]) == (CROSS_FITTED, None)
    assert len(audited(made)) == 5
    capsys.readouterr()
    assert main(["status", str(made.folder)]) == 0
    printed = capsys.readouterr().out
    assert (
        "cross-fitted on 16 answers that no score asked for, the first batch above all: it may be too high" in printed
    )
    assert "It is too early to forecast what the next batch will bring." in printed
    made.answer()
    assert made.select() == 0
    assert made.rows("rounds")[-1]["measured"] == ON_AUDIT
    assert main(["status", str(made.folder)]) == 0
    assert "on 5 audit answers: drawn at random from the whole pool and never trained on" in capsys.readouterr().out
    assert main(["report", str(made.folder)]) == 0
    assert "on 5 audit answers" in (made.folder / "report.html").read_text()


def test_a_project_with_test_answers_asks_no_audit_questions_unless_it_is_asked_to(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(8):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (30 * number, 0, 0)).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "test.csv").write_text("id,answer\n0.png,a\n1.png,b\n")
    begin = ["init", "--images", str(tmp_path / "photos"), "--classes", "a,b", "--test", str(tmp_path / "test.csv")]
    for name, more, share in (("p", [], 0), ("q", ["--audit", "0.2"], 0.2)):
        assert main([*begin, "--out", str(tmp_path / name), *more]) == 0
        with Project.open(tmp_path / name) as project:
            assert project.recipe().budget.audit == share
    assert main([*begin, "--out", str(tmp_path / "r"), "--audit", "0.7"]) == 2


def test_the_share_holds_over_batches_of_any_size() -> None:
    asked, audits = 0, 0
    for wanted in (40, 1, 1, 3, 7, 40, 1, 200, 13, 1, 1, 1, 1, 1, 40):
        count = quota(0.1, asked, wanted, audits > 0)
        assert 0 <= count <= wanted
        asked, audits = asked + wanted, audits + count
        assert audits in (5, round(asked * 0.1), -(-asked // 10), -(-asked // 10) + 1)
    assert [quota(0.1, 0, n, False) for n in (1, 2, 8, 40, 100)] == [0, 1, 4, 5, 10]
    assert quota(0.1, 304, 40, False) == 5, "an old project begins without catching up"
    assert quota(0, 304, 40, True) == 0


def test_the_fewer_audit_answers_the_wider_the_forecast() -> None:
    def rows(samples: int, how: str) -> list[dict[str, object]]:
        metric = {"higher_is_better": True, "unit": "%", "answers": samples}
        values = [0.5, 0.65, 0.72, 0.76, 0.79]
        measured = [{**metric, "value": v, "interval": list(interval_of_share(v, samples))} for v in values]
        return [{"labelled": 40 + 30 * n, "measured": how, "metric": m} for n, m in enumerate(measured)]

    widths = []
    for samples in (10, 100, 1000):
        found = forecast_of(rows(samples, ON_AUDIT))
        assert found is not None
        assert found.low < 0.025 < found.high, "gains shrink: 0.15, 0.07, 0.04, 0.03"
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)
    exact = forecast_of(rows(10, ON_TEST))
    assert exact is not None
    assert widths[-1] > exact.high - exact.low, "of one test set the points move together"
    assert forecast_of(rows(1000, CROSS_FITTED)) is None, "the first batch says nothing of the curve"
