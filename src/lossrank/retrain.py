"""Selection alone: a fresh model for each round of a run, trained on what was chosen by then and nothing beside it.

LL4AL trains the model together with its loss predictor, so its curve mixes two things: what it chose, and what the
joint training did to the model. A fresh model without predictor, trained alike for every strategy, gives credit to the
choice alone. `selection.jsonl` gets a line for each round, beside `rounds.jsonl`, which is left as it is.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from lossrank.assembly import assemble
from lossrank.collect import measure
from lossrank.config import load_recipe
from lossrank.datasets import ImageData
from lossrank.errors import RunError
from lossrank.experiment import Watcher, learn, look, start
from lossrank.folder import FolderLock, append_line
from lossrank.ledger import Ledger
from lossrank.parsing import read_rows
from lossrank.trust import check_trusted

__all__ = ["SELECTION", "retrain"]

SELECTION = "selection.jsonl"
"""Beside `rounds.jsonl` in a run folder."""


def retrain(
    folder: str | Path, data: ImageData | None = None, watcher: Watcher | None = None, *, trust: bool = False
) -> list[dict[str, Any]]:
    """Train a fresh model for each finished round of a run; returns a row per round. Killed, it continues.

    Args:
        data: samples already at hand; otherwise what the run's recipe names is loaded.
        trust: import the code that the run's recipe names although the run was not made here; see `lossrank.trust`.

    Raises:
        ConfigError: the recipe names code that nobody has confirmed.
        RunError: no run with a finished round is there, or it is in use.
    """
    folder, watcher = Path(folder), watcher or Watcher()
    if not (folder / "recipe.yaml").is_file() or not (folder / "rounds.jsonl").is_file():
        raise RunError(f"{folder} holds no run with a finished round; `lossrank run` makes one")
    recipe = dataclasses.replace(load_recipe(folder / "recipe.yaml"), strategy="random", strategy_options={})
    check_trusted(folder, recipe, trust)
    experiment = assemble(dataclasses.replace(recipe, predictor={}), data)
    metric = experiment.task.metric()
    with FolderLock(folder), Ledger.open(folder / "ledger.sqlite", create=False) as ledger:
        finished = len(read_rows(folder / "rounds.jsonl"))
        rows = read_rows(folder / SELECTION)
        for number in range(len(rows), finished):
            labels = ledger.labelled(up_to_batch=number)
            learner = start(experiment)
            learn(experiment, learner, labels, number, watcher)
            measured = measure(look(experiment, learner), experiment.test, experiment.test.ids, None)
            row = {
                "round": number,
                "labelled": len(labels),
                "metric": {
                    "name": metric.name,
                    "value": measured.metric,
                    "higher_is_better": metric.higher_is_better,
                    "unit": metric.unit,
                },
                "test_loss": measured.loss,
            }
            append_line(folder / SELECTION, json.dumps(row))
            rows.append(row)
            watcher.on_row(row)
    return rows
