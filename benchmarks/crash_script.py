"""The commands of a project that crash_project.py kills: every verb, each of them with one outcome."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from lossrank import Project
from lossrank.checkpoint import load_checkpoint
from lossrank.errors import MissingExtra
from lossrank.folder import read_lines
from lossrank.project import cold
from lossrank.project.page import write_project_page

CLASSES = ("dark", "grey", "light")


@dataclass
class World:
    """The folder that a script works in."""

    folder: Path
    task: str
    project: Project | None = None

    def events(self) -> int:
        return -1 if self.project is None else sum(1 for _ in self.project.ledger.history())

    def close(self) -> None:
        if self.project is not None:
            self.project.close()


@dataclass(frozen=True)
class Step:
    """One command.

    Args:
        always: it writes no event and may be given any number of times.
    """

    run: Callable[[World], None]
    always: bool = False


def begin(folder: Path, task: str) -> World:
    """The pictures, and the project where there is one already."""

    def without_network(*_: object) -> None:
        raise MissingExtra("no-such-package", "trunks", "the embedding")

    cold.trunk_embeddings = without_network  # type: ignore[assignment]
    pictures(folder / "photos", range(24))
    world = World(folder, task)
    if (folder / "project" / "project.json").exists():
        world.project = Project.open(folder / "project")
    return world


def pictures(folder: Path, numbers: range) -> None:
    """Noise around one of three shades."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        path, part = folder / f"{number:02d}.png", folder / "new.part"
        if not path.exists():
            noise = np.random.default_rng(number).integers(-25, 25, (8, 8, 3))
            Image.fromarray((40 + 80 * (number % 3) + noise).clip(0, 255).astype(np.uint8)).save(part, "png")
            part.replace(path)


def truth(world: World, sample: str) -> Any:
    number = int(sample.partition(".")[0])
    return CLASSES[number % 3] if world.task == "classification" else 100.0 * (number % 3) + number


def other(world: World, sample: str) -> Any:
    answer = truth(world, sample)
    return CLASSES[CLASSES.index(answer) - 1] if world.task == "classification" else answer + 1


def opened(world: World) -> Project:
    assert world.project is not None
    return world.project


def init(world: World) -> None:
    names = CLASSES if world.task == "classification" else ()
    photos, folder = world.folder / "photos", world.folder / "project"
    world.project = Project.init(folder, photos, world.task, names, initial=6, step=3)


def edit(**fields: Any) -> Step:
    """Fields of the recipe; the file is replaced whole, as editors do."""

    def change(world: World) -> None:
        path = world.folder / "project" / "recipe.yaml"
        recipe = yaml.safe_load(path.read_text())
        part = path.with_suffix(".edited")
        part.write_text(
            yaml.safe_dump(recipe | {n: {**recipe[n], **v} if n in GROUPS else v for n, v in fields.items()})
        )
        os.replace(part, path)
        world.close()
        world.project = Project.open(world.folder / "project")

    return Step(change, always=True)


GROUPS = ("dataset_options", "budget")


def select(n: int | None = None, *, more: bool = False, last: bool = False) -> Step:
    """The last one may train without a question to ask, which leaves no event."""

    def call(world: World) -> None:
        opened(world).select(n, more=more)

    return Step(call, always=last)


def answers(count: int, *, skips: int = 0, wrong: int = 0, unasked: int = 0, bad: bool = False) -> Step:
    """A file about the first open questions."""

    def call(world: World) -> None:
        project = opened(world)
        samples = [question.sample for question in project.questions()][: count + skips]
        rows: list[dict[str, Any]] = [
            {"id": i, "answer": other(world, i) if row < wrong else truth(world, i)}
            for row, i in enumerate(samples[:count])
        ]
        rows += [{"id": i, "skip": "blurred"} for i in samples[count:]]
        free = sorted(project.ledger.added() - project.ledger.asked() - project.ledger.retired().keys())
        rows += [{"id": i, "answer": truth(world, i)} for i in free[:unasked]]
        text = "".join(json.dumps(row) + "\n" for row in rows) + ("no JSON\n" if bad else "")
        path = world.folder / "answers.jsonl"
        path.write_text(text)
        project.ingest(path, allow_unasked=unasked > 0, keep_good=bad)

    return Step(call)


def revise(world: World) -> None:
    project = opened(world)
    first = next(iter(project.ledger.labelled()))
    project.revise({first: truth(world, first)})


def correct(world: World) -> None:
    """Every answer that is not true, by a file."""
    project = opened(world)
    known = project.ledger.labelled()
    found = {i: truth(world, i) for i, answer in known.items() if answer != truth(world, i)}
    last = next(reversed(known))
    project.ingest(found | {last: other(world, last)}, revise=True)


def add(world: World) -> None:
    pictures(world.folder / "photos", range(24, 27))
    opened(world).add()


def read(world: World) -> None:
    """What only reads, and what writes files."""
    project, folder = opened(world), world.folder
    project.status()
    write_project_page(project, folder / "project" / "report.html")
    if project.ledger.open_questions():
        project.export(folder / "questions.csv")
    if project.ledger.labelled():
        exported = folder / "answers.out.jsonl"
        exported.unlink(missing_ok=True)  # a file that holds an answer corrected since would be kept
        project.export_answers(exported)


READ = Step(read, always=True)
FAST = {
    "model": {"name": "small_cnn", "options": {"width": 2}},
    "train": {"epochs": 1, "batch_size": 8, "optimizer": "adam", "lr": 0.01, "weight_decay": 0.0},
    "per_strategy": {"auto": {"folds": 2, "least": 6}},
    "predictors": {"lossrank": {"hint_steps": 2, "steps": 2, "passes": 1}},
}
SCRIPT = (
    Step(init),
    edit(**FAST, dataset_options={"image_size": 8}),
    select(),
    READ,
    answers(4, skips=2, wrong=1),
    select(),
    READ,
    answers(2, bad=True),
    Step(revise),
    select(2, more=True),
    Step(lambda world: opened(world).skip([q.sample for q in opened(world).questions()][:1], "dark")),
    Step(lambda world: opened(world).undo()),
    READ,
    answers(9, unasked=2, wrong=2),
    Step(add),
    edit(strategy="lossrank", budget={"step": 4}),
    select(),
    answers(4),
    Step(correct),
    Step(lambda world: opened(world).undo([next(iter(opened(world).ledger.labelled()))])),
    Step(lambda world: opened(world).retire(sorted(opened(world).ledger.added())[-1:], "no use")),
    edit(strategy="random", seed=1),
    select(more=True),
    READ,
    answers(3),
    Step(lambda world: opened(world).undo()),
    answers(9),
    edit(strategy="auto"),
    select(5),
    answers(5),
    READ,
    select(50, last=True),
    READ,
)


def project_outcome(folder: Path) -> dict[str, Any]:
    """Everything about a finished project that a kill must not change."""
    here = str(folder)
    with Project.open(folder / "project") as project:
        events = [
            (e.number, e.kind, e.sample, e.batch, e.rank, e.score, e.value, e.source.replace(here, ""), e.undoes)
            for e in project.ledger.history()
        ]
        asked = [event[2] for event in events if event[1] == "ask"]
        rounds = [json.loads(line) for line in read_lines(folder / "project" / "rounds.jsonl")]
        weights = sorted((folder / "project" / "weights").iterdir())
        return {
            "events": events,
            "answers": project.ledger.labelled(),
            "rounds": [{name: value for name, value in row.items() if name != "seconds"} for row in rounds],
            "batches": read_lines(folder / "project" / "batches.jsonl"),
            "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()),
            "weights": {path.name: load_checkpoint(path).tensors["model.fc.weight"].tolist() for path in weights},
            "questions": (folder / "questions.csv").read_text(),
            "asked twice": len(asked) - len(set(asked)),
        }
