"""docs/labelling.md, played by a scripted person; and the same answers in a loop of the experiment's own parts."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from guide import BLOCKS, COMMANDS, EDITS, GUIDE, Person, play, write_digits

from lossrank import Project, load_recipe
from lossrank.assembly import assemble
from lossrank.cli import main
from lossrank.collect import measure
from lossrank.datasets import load_unlabelled, pixel_statistics
from lossrank.datasets.base import ImageData
from lossrank.errors import MissingExtra
from lossrank.experiment import Watcher, learn, look, start
from lossrank.project import cold

SMALL = (
    *EDITS,
    ("image_size: 16", "image_size: 8"),
    ("options: {width: 16}", "options: {width: 4}"),
    ("epochs: 40, batch_size: 32, lr: 0.05, milestones: [32], clip: 1.0, padding: 1", "epochs: 6, batch_size: 16"),
    ("folds: 5", "folds: 2"),
    ("epochs: 6", "epochs: 4"),
)


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """300 digits to label below photos/, 100 with answers in test.csv."""
    monkeypatch.chdir(tmp_path)

    def missing(*arguments: object) -> None:
        raise MissingExtra("the network", "trunks", "this test")

    monkeypatch.setattr(cold, "trunk_embeddings", missing)  # so that it plays alike with and without the extra
    return write_digits(tmp_path, asked=300, tested=100)


def test_the_guide_from_the_folder_to_the_third_round(digits: dict[str, str], tmp_path: Path) -> None:
    person, learned = Person(digits, seed=3), []

    def after(verb: str) -> None:
        if verb == "select":
            with Project.open("digits") as project:
                learned.append(project.ledger.labelled())

    play(COMMANDS, person, SMALL, ("--initial", "40", "--step", "30"), after)
    with Project.open("digits") as project:
        status, rows = project.status(), project.layout.rounds()
        answers = project.ledger.labelled()
        asks = [event.sample for event in project.ledger.history() if event.kind == "ask"]
        skipped = project.ledger.skipped()
    assert len(asks) == len(set(asks)) == 40 + 3 * 30
    assert answers == {i: digits[i] for i in answers}, "every wrong answer was corrected"
    assert set(skipped) == person.skipped
    assert not set(skipped) & set(answers)
    assert len(answers) + len(skipped) == 100
    assert (status.labelled, status.skipped, status.open) == (len(answers), len(skipped), 30)
    assert status.pool == 300 - 130, "test pictures are not in the pool"
    assert len(rows) == 3
    assert [row["labelled"] for row in rows] == [len(labels) for labels in learned[1:]]
    assert rows[-1]["metric"]["value"] == _experiment(tmp_path, learned[1:])
    page = (tmp_path / "digits" / "report.html").read_text()
    assert "What the last batch taught" in page
    assert "Recent corrections" in page
    assert page.count("<img") >= 10


def _experiment(folder: Path, learned: list[dict[str, Any]]) -> float:
    """The metric after the same answers, by the experiment loop's own parts and nothing of projects."""
    recipe = load_recipe(folder / "digits" / "recipe.yaml")
    whole = load_unlabelled(folder / "photos", image_size=8)
    pool = whole.view([i for i in whole.ids if i.startswith("a-")])
    test = whole.view([i for i in whole.ids if i.startswith("test-")])
    pixels = next(pool.batches(batch_size=300)).inputs
    data = ImageData(pool, test, [str(n) for n in range(10)], *pixel_statistics(pixels))
    experiment = assemble(recipe, data, check_budget=False)
    truth = dict(csv.reader((folder / "test.csv").read_text().splitlines()[1:]))
    held = test.answered({i: experiment.task.target(label) for i, label in truth.items()})
    learner = start(experiment)
    for number, labels in enumerate(learned):
        learn(experiment, learner, labels, number, Watcher())
    return measure(look(experiment, learner), held, held.ids, None).metric


def test_every_command_of_the_guide_exists(capsys: pytest.CaptureFixture[str]) -> None:
    for block in BLOCKS:
        for line in block:
            with pytest.raises(SystemExit) as stopped:
                main([line.split()[1], "--help"])
            assert stopped.value.code == 0


def test_the_guide_names_its_edits_of_the_recipe() -> None:
    for _, new in EDITS:
        assert new in GUIDE
