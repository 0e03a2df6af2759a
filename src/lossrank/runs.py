"""A run: one recipe played to its end in a folder that remembers everything.

    recipe.yaml          what was asked for
    environment.json     what it ran on
    ledger.sqlite        what was asked and answered
    rounds.jsonl         a row per finished round; the last thing a round writes
    weights/             the weights after the last finished round

Killed at any instant and run again, a run continues to the same result: a round either has its row or is played
again from the weights before it, with the same random draws, and finds its own questions in the ledger. Where those
weights are missing or damaged, the rounds before are trained again from their answers, to the same weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lossrank.assembly import assemble
from lossrank.checkpoint import contents_of, load_checkpoint, save_checkpoint
from lossrank.config import Recipe, differences, dump_recipe, load_recipe
from lossrank.errors import RunError
from lossrank.experiment import Experiment, Learner, Watcher, start
from lossrank.folder import (
    FolderLock,
    append_line,
    environment,
    write_atomic,
)
from lossrank.ledger import Ledger
from lossrank.parsing import check_format, read_rows
from lossrank.restore import restore
from lossrank.rounds import ask_initial, play_round, train_again
from lossrank.trust import imports_of, remember

__all__ = ["FORMAT", "run", "weights_of"]

FORMAT = 1  # raised when an older version could no longer read a run folder


def run(
    recipe: Recipe, out: str | Path, experiment: Experiment | None = None, watcher: Watcher | None = None
) -> list[dict[str, Any]]:
    """Play a recipe to its end in the folder `out`, or continue what was begun there; returns a row per round.

    Args:
        experiment: what the recipe stands for, if it is built already; otherwise it is assembled from the recipe.

    Raises:
        RunError: the folder is in use, holds another recipe (the fields that differ are named), was written by a
            newer version, or cannot be written.
        ConfigError, DataError: the recipe does not work out; nothing has been written then.
    """
    out = Path(out)
    experiment, watcher = experiment or assemble(recipe), watcher or Watcher()
    processes = experiment.runtime.processes
    learner = start(experiment)
    with FolderLock(out) if processes.main else nullcontext(), _opened(experiment, out) as (ledger, rows):
        learner = _resumed(experiment, learner, ledger, out, rows, watcher)
        for number in range(len(rows), recipe.rounds):
            row = processes.same(play_round(experiment, learner, ledger, number, watcher))
            if processes.main:
                _write_down(experiment, out, row, learner)
            rows.append(row)
            watcher.on_row(row)
        processes.wait()  # for the main one, whose end would take the others with it
    return rows


def _resumed(
    experiment: Experiment,
    learner: Learner,
    ledger: Ledger,
    out: Path,
    rows: Sequence[Mapping[str, Any]],
    watcher: Watcher,
) -> Learner:
    """The learner after the finished rounds: from its weights, or trained again where they are missing or damaged."""
    if not rows or len(rows) >= experiment.recipe.rounds:
        return learner
    try:
        trouble = restore(experiment, learner, load_checkpoint(weights_of(out, len(rows) - 1))).notes
    except RunError as error:
        trouble = [str(error)]
    if not trouble:
        return learner
    watcher.on_note(f"{'; '.join(trouble)}. The rounds so far are trained again from their answers")
    return train_again(experiment, ledger, len(rows), watcher)


def _write_down(experiment: Experiment, out: Path, row: Mapping[str, Any], learner: Learner) -> None:
    number = row["round"]
    save_checkpoint(weights_of(out, number), learner, contents_of(experiment))
    append_line(out / "rounds.jsonl", json.dumps(row))
    weights_of(out, number - 1).unlink(missing_ok=True)


@contextmanager
def _opened(experiment: Experiment, out: Path) -> Iterator[tuple[Ledger, list[dict[str, Any]]]]:
    """The ledger with the first questions, and the rows of the folder; the main process begins or checks it first."""
    processes = experiment.runtime.processes
    if not processes.main:
        processes.wait()
    with _folder(experiment.recipe, out) as (ledger, rows):
        if processes.main:
            if rows:  # left where a kill came between row and removal
                weights_of(out, len(rows) - 2).unlink(missing_ok=True)
            else:
                ask_initial(experiment, ledger)
            processes.wait()
        yield ledger, rows


@contextmanager
def _folder(recipe: Recipe, out: Path) -> Iterator[tuple[Ledger, list[dict[str, Any]]]]:
    told = out / "recipe.yaml"
    if told.exists():
        _refuse_another(recipe, out)
    else:
        write_atomic(out / "environment.json", json.dumps(environment() | {"format": FORMAT}, indent=2))
        write_atomic(told, dump_recipe(recipe))
    remember(out, imports_of(recipe).values())
    with Ledger.open(out / "ledger.sqlite", create=not (out / "rounds.jsonl").exists()) as ledger:
        yield ledger, read_rows(out / "rounds.jsonl", ("round",))


def _refuse_another(recipe: Recipe, out: Path) -> None:
    check_format(out / "environment.json", FORMAT)
    different = differences(load_recipe(out / "recipe.yaml"), recipe)
    if different:
        fields = "; ".join(f"{name} is {new!r} and was {old!r}" for name, (old, new) in different.items())
        raise RunError(f"{out} holds a run of another recipe: {fields}. Take another folder, or that recipe")


def weights_of(out: Path, number: int) -> Path:
    """Where the weights after a round lie."""
    return out / "weights" / f"round-{number:03d}.safetensors"
