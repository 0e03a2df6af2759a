"""A small project that the command line works on, and that learns in a blink."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from lossrank import Project
from lossrank.cli import main

CLASSES = ("dark", "grey", "light")


@dataclass
class Labelling:
    """A project in a folder, worked on through the command line alone."""

    folder: Path
    truth: Mapping[str, Any]

    def recipe(self, **changes: Any) -> None:
        """Set fields of the recipe, dotted names with __ for the dot; None removes one."""
        path = self.folder / "recipe.yaml"
        recipe = yaml.safe_load(path.read_text())
        for name, value in changes.items():
            *groups, last = name.split("__")
            place = recipe
            for group in groups:
                place = place.setdefault(group, {})
            place[last] = value
        path.write_text(yaml.safe_dump(recipe))

    def select(self, *options: str) -> int:
        return main(["select", str(self.folder), *options])

    def answer(self, truth: Mapping[str, Any] | None = None) -> None:
        """Hand in a file with an answer to every open question."""
        truth, path = truth or self.truth, self.folder / "done.jsonl"
        with Project.open(self.folder) as project:
            asked = [q.sample for q in project.questions()]
        path.write_text("".join(json.dumps({"id": i, "answer": truth[i]}) + "\n" for i in asked))
        assert main(["ingest", str(self.folder), str(path)]) == 0

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / f"{name}.jsonl").read_text().splitlines()]

    def reasons(self) -> list[str]:
        """The reason in the ledger of each batch."""
        with Project.open(self.folder) as project:
            return list(dict.fromkeys(e.source for e in project.ledger.history() if e.kind == "ask"))

    def weights(self) -> Path:
        (path,) = (self.folder / "weights").glob("*.safetensors")
        return path


def make_project(
    folder: Path,
    task: str = "classification",
    names: Sequence[str] = CLASSES,
    size: int = 8,
    count: int = 40,
    audit: float = 0.0,
) -> Labelling:
    """Noisy pictures of three shades in `folder/photos`, a project of them in `folder/p` that asks for 16 first."""
    noise, truth = np.random.default_rng(0), dict[str, Any]()
    for number in range(count):
        shade = number % 3
        pixels = 40 + 80 * shade + noise.integers(-25, 25, (size, size, 3))
        path = folder / "photos" / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
        truth[path.name] = names[shade % len(names)] if task == "classification" else 1000.0 * shade + number
    named = ["--classes", ",".join(names)] if task == "classification" else []
    begin = ["--images", str(folder / "photos"), "--out", str(folder / "p"), "--initial", "16", "--step", "4"]
    begin += ["--audit", str(audit)]
    assert main(["init", "--task", task, *begin, *named]) == 0
    made = Labelling(folder / "p", truth)
    made.recipe(
        dataset_options__image_size=size,
        model__options={"width": 2},
        train={"epochs": 3, "batch_size": 8, "optimizer": "adam", "lr": 0.01, "weight_decay": 0.0},
        per_strategy={"auto": {"folds": 2, "least": 12}},
        predictors={"lossrank": {"hint_steps": 5, "steps": 5, "passes": 1}},
    )
    return made
