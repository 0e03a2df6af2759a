"""`lossrank select LABELLED UNLABELLED`: one choice from two folders of pictures, without a project."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from rich.text import Text

from lossrank.assembly import assemble
from lossrank.choosing import Choice, choose
from lossrank.collect import Measurement, View, measure
from lossrank.commands import progress_bars
from lossrank.config import ModelRecipe, Recipe, TrainRecipe
from lossrank.console import bold, console
from lossrank.datasets import load_folder, load_unlabelled
from lossrank.errors import ConfigError
from lossrank.experiment import Experiment, Watcher, learn, look, start
from lossrank.folder import write_atomic
from lossrank.frozen import freeze
from lossrank.ledger import SampleId
from lossrank.outputs import CHOICE, refuse_foreign_table
from lossrank.pool import Pool
from lossrank.requirements import require_count
from lossrank.spreadsheet import csv_text

__all__ = ["select_once"]


def select_once(
    labelled: Path,
    unlabelled: Path,
    out: Path,
    n: int = 100,
    strategy: str = "lossrank",
    image_size: int = 64,
    model: str | None = None,
    trunk: Literal["train", "frozen"] = "train",
    epochs: int = 40,
    seed: int = 0,
    max_memory: str | None = None,
) -> int:
    """Train on labelled class folders, rank a folder of unlabelled images, write the n best as CSV."""
    for name, value in (("n", n), ("image_size", image_size), ("epochs", epochs)):
        require_count(name, value)
    refuse_foreign_table(out, CHOICE)
    data = load_folder(labelled, image_size=image_size)
    pool = load_unlabelled(unlabelled, image_size=image_size)
    if n > len(pool):
        raise ConfigError(f"n must be an integer <= {len(pool)}, the images in {unlabelled}, got {n}")
    frozen = trunk == "frozen"
    recipe = Recipe(
        dataset="folder",
        strategy=strategy,
        seed=seed,
        model=ModelRecipe(model or ("efficientnet_lite0" if frozen else "small_cnn"), trunk=trunk),
        train=_training(epochs, image_size, frozen),
        max_memory=max_memory,
    )
    experiment = assemble(recipe, data, check_budget=False)
    seen = freeze(recipe, dataclasses.replace(data, train=pool), experiment.runtime).train if frozen else pool
    experiment = dataclasses.replace(experiment, pool=seen, labelled_pool=experiment.pool)
    view, choice = _trained_choice(experiment, data.train, len(pool), n)
    _write_choice(out, choice.asked)
    _tell_health(measure(view, experiment.test, data.test.ids, experiment.strategy.score), len(data.test))
    _tell_left_out({**data.train.unreadable, **pool.unreadable})
    console.print(f"The {len(choice.asked)} images to label next, the most useful first, are in", bold(out))
    return 0


def _training(epochs: int, image_size: int, frozen: bool) -> TrainRecipe:
    if frozen:
        return TrainRecipe(epochs=epochs, batch_size=32, optimizer="adam", lr=1e-3, weight_decay=0.0)
    return TrainRecipe(epochs=epochs, batch_size=32, lr=0.05, padding=image_size // 16, flip=True)


def _trained_choice(experiment: Experiment, labelled: Pool, unlabelled: int, n: int) -> tuple[View, Choice]:
    """Train on the labelled images, then choose n of the experiment's pool; `unlabelled` images are shown as ranked."""
    epochs = experiment.recipe.train.epochs
    with progress_bars() as bars:
        task = bars.add_task("training", total=epochs, note=f"{len(labelled)} labelled images")
        watcher = Watcher(on_epoch=lambda done, epochs: bars.update(task, completed=done))
        learner = start(experiment)
        ids = [i for i in labelled.ids if i not in labelled.unreadable]
        labels = experiment.oracle(ids)
        learn(experiment, learner, labels, 0, watcher)
        view = look(experiment, learner)
        bars.add_task("ranking", total=None, note=f"{unlabelled} unlabelled images")
        choice = choose(experiment, view, experiment.pool.ids, list(labels), n, 0)
    return view, choice


def _write_choice(out: Path, asked: Sequence[tuple[SampleId, float | None]]) -> None:
    rows = [(rank, sample, score) for rank, (sample, score) in enumerate(asked, 1)]
    write_atomic(out, csv_text([CHOICE, *rows]))


def _tell_health(measured: Measurement, held_out: int) -> None:
    ranks = "" if measured.spearman is None else f", Spearman of its ranking with the true loss {measured.spearman:.2f}"
    console.print(f"On {held_out} labelled images held out: accuracy {measured.metric:.1%}{ranks}")


def _tell_left_out(unreadable: Mapping[SampleId, str]) -> None:
    for sample, why in unreadable.items():
        console.print(Text("left out", "yellow"), f"{sample}: {why}")
