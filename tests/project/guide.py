"""docs/labelling.md played by a scripted person: its commands, its pictures, and who answers."""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lossrank import Project
from lossrank.cli import main
from lossrank.datasets import load_digits

__all__ = ["BLOCKS", "COMMANDS", "EDITS", "Person", "edit", "play", "write_digits"]

GUIDE = (Path(__file__).parents[2] / "docs" / "labelling.md").read_text(encoding="utf-8")
BLOCKS = [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", GUIDE, flags=re.S)]
COMMANDS = [line for block in BLOCKS[:-1] for line in block]
EDITS = (("image_size: 64", "image_size: 16"), ("padding: 4, flip: true", "padding: 1, flip: false"))
"""What the guide edits in the recipe before the first round."""


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

    def corrects(self, project: str) -> None:
        """Every wrong answer given so far."""
        for sample in sorted(self.wrong):
            assert main(["revise", project, sample, self.truth[sample]]) == 0
        self.wrong.clear()


def write_digits(folder: Path, asked: int, tested: int) -> dict[str, str]:
    """So many digits to label below photos/, so many more with answers in test.csv; returns the first ones' answers."""
    data, truth = load_digits(), {}
    (folder / "photos").mkdir()
    with (folder / "test.csv").open("w") as test:
        test.write("id,answer\n")
        for pool, count, name in ((data.train, asked, "a"), (data.test, tested, "test")):
            for sample in pool.ids[:count]:
                picture = pool.thumbnail(sample)
                assert picture is not None
                picture.save(folder / "photos" / f"{name}-{sample}.png")
                label = str(int(pool.targets([sample])[0]))
                if pool is data.test:
                    test.write(f"{name}-{sample}.png,{label}\n")
                else:
                    truth[f"{name}-{sample}.png"] = label
    return truth


def play(
    commands: Iterable[str],
    person: Person,
    edits: Sequence[tuple[str, str]] = EDITS,
    budget: Sequence[str] = (),
    after: Callable[[str], None] = lambda verb: None,
) -> None:
    """Run the guide's commands in the current folder; a person answers all of a batch before `ingest` is over.

    Args:
        edits: of the recipe, once it is there.
        budget: further arguments of `init`.
        after: called with the verb of each command.
    """
    for command in commands:
        _, verb, *arguments = command.split()
        if verb == "ingest":
            with Project.open("digits") as project:
                while project.questions():
                    project.export("next.csv")
                    person.fills(Path("next.csv"), Path("done.csv"))
                    assert main([verb, *arguments]) == 0
            person.corrects("digits")
        else:
            assert main([verb, *arguments, *(budget if verb == "init" else ())]) == 0
            if verb == "init":
                edit(Path("digits") / "recipe.yaml", edits)
        after(verb)


def edit(recipe: Path, edits: Sequence[tuple[str, str]]) -> None:
    """Replace what stands in the recipe."""
    text = recipe.read_text(encoding="utf-8")
    for old, new in edits:
        assert old in text, f"{old!r} is not in {recipe}"
        text = text.replace(old, new)
    recipe.write_text(text, encoding="utf-8")
