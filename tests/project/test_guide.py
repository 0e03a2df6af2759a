"""docs/labelling.md, played by a scripted person; and the same answers in a loop of the experiment's own parts."""

from __future__ import annotations

import csv
import random
import re
from pathlib import Path
from typing import Any

import pytest

from lossrank import Project, load_recipe
from lossrank.assembly import assemble
from lossrank.cli import main
from lossrank.collect import measure
from lossrank.datasets import load_digits, load_unlabelled, pixel_statistics
from lossrank.datasets.base import ImageData
from lossrank.errors import MissingExtra
from lossrank.project import cold
from lossrank.rounds import Watcher, learn, look, start

GUIDE = (Path(__file__).parents[2] / "docs" / "labelling.md").read_text(encoding="utf-8")
BLOCKS = [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", GUIDE, flags=re.S)]
COMMANDS = [line for block in BLOCKS[:-1] for line in block]
SMALL = (
    ("image_size: 64", "image_size: 8"),
    ("options: {width: 16}", "options: {width: 4}"),
    ("epochs: 40, batch_size: 32, lr: 0.05, milestones: [32], padding: 4, flip: true", "epochs: 6, batch_size: 16"),
    ("folds: 3", "folds: 2"),
    ("epochs: 6", "epochs: 4"),
)


class Person:
    """Answers from the true labels: 5 % are skipped, 3 % get a wrong answer first and are corrected later."""

    def __init__(self, truth: dict[str, str], seed: int) -> None:
        self.truth, self.draw = truth, random.Random(seed)
        self.skipped: set[str] = set()
        self.wrong: set[str] = set()

    def fills(self, questions: Path, done: Path) -> None:
        """Some of the questions, in any order; what stays blank is answered in a later file."""
        rows = list(csv.DictReader(questions.read_text().splitlines()))
        self.draw.shuffle(rows)
        for row in rows[: self.draw.randint(1, len(rows))]:
            right, chance = self.truth[row["id"]], self.draw.random()
            if chance < 0.05:
                row["skip"] = "blurred"
                self.skipped.add(row["id"])
            elif chance < 0.08:
                row["answer"] = str((int(right) + 1) % 10)
                self.wrong.add(row["id"])
            else:
                row["answer"] = right
        with done.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """300 digits to label below photos/, 100 with answers in test.csv."""
    monkeypatch.chdir(tmp_path)

    def missing(*arguments: object) -> None:
        raise MissingExtra("the network", "trunks", "this test")

    monkeypatch.setattr(cold, "trunk_embeddings", missing)  # so that it plays alike with and without the extra
    data, truth = load_digits(), {}
    (tmp_path / "photos").mkdir()
    with (tmp_path / "test.csv").open("w") as test:
        test.write("id,answer\n")
        for pool, count, name in ((data.train, 300, "a"), (data.test, 100, "test")):
            for sample in pool.ids[:count]:
                picture = pool.thumbnail(sample)
                assert picture is not None
                picture.save(f"photos/{name}-{sample}.png")
                label = str(int(pool.targets([sample])[0]))
                if pool is data.test:
                    test.write(f"{name}-{sample}.png,{label}\n")
                else:
                    truth[f"{name}-{sample}.png"] = label
    return truth


def test_the_guide_from_the_folder_to_the_third_round(digits: dict[str, str], tmp_path: Path) -> None:
    person, learned = Person(digits, seed=3), []
    for command in COMMANDS:
        _, verb, *arguments = command.split()
        if verb == "init":
            assert main([verb, *arguments, "--initial", "40", "--step", "30"]) == 0
            recipe = tmp_path / "digits" / "recipe.yaml"
            text = recipe.read_text()
            for old, new in SMALL:
                assert old in text
                text = text.replace(old, new)
            recipe.write_text(text)
            continue
        if verb == "ingest":
            with Project.open("digits") as project:
                while project.questions():
                    project.export("next.csv")
                    person.fills(Path("next.csv"), Path("done.csv"))
                    assert main([verb, *arguments]) == 0
                for sample in sorted(person.wrong):
                    assert main(["revise", "digits", sample, digits[sample]]) == 0
                person.wrong.clear()
            continue
        assert main([verb, *arguments]) == 0
        if verb == "select":
            with Project.open("digits") as project:
                learned.append(project.ledger.labelled())
    assert main(["select", "digits"]) == 0  # the third round's training
    with Project.open("digits") as project:
        learned.append(project.ledger.labelled())
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
