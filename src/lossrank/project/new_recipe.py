"""The recipe that `init` writes into a new project folder, with the defaults of each task."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lossrank.exchange import VOCABULARIES, Vocabulary

__all__ = ["AUDIT_SHARE", "FIRST_LINE", "new_recipe"]

AUDIT_SHARE = 0.1
"""Of the questions of a project without test answers: audit questions."""

RECIPE = """\
# A project's recipe. Edit it between rounds; `lossrank run --print_config` shows every field there is.
task: {task}
task_options: {options}
data: {images}          # the pictures; ids are paths below it
dataset_options:
  {what}: {names}
  image_size: {size}     # side in pixels to which pictures are scaled for the model
  test: {test}           # answers to measure on that are never trained on: a file, or class folders; null: cross-fitted
strategy: auto           # predicted loss while it ranks held-out answers, else uncertainty or chance
per_strategy:            # options by name, which may stay when `strategy` names another
  auto: {{threshold: 0.2, folds: 5, least: 30}}
model: {model}
train: {train}
budget:
  initial: {initial}     # of the first batch, before there is a model
  step: {step}           # of each batch after it
  final: 1000000000
  audit: {audit}             # share of the questions that is drawn at random and never trained on, to measure the model
  candidates: null       # a random subset to choose from each round; null: all that was not asked
  warm_start: true
seed: 0
"""
FIRST_LINE = RECIPE.partition("\n")[0]
"""Marks a recipe that `init` wrote."""
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "classification": {
        "size": 64,
        "model": "{name: small_cnn, options: {width: 16}}",
        "train": "{epochs: 40, batch_size: 32, lr: 0.05, milestones: [32], clip: 1.0, padding: 4, flip: true}",
    },
    "pose": {
        "size": 128,
        "model": "{name: pose_small, options: {width: 12}}",
        "train": "{epochs: 30, batch_size: 16, optimizer: adam, lr: 2.0e-3, weight_decay: 0.0, flip: true}",
    },
    "counting": {
        "size": 128,
        "model": "{name: counting_small, options: {width: 16}}",
        "train": "{epochs: 20, batch_size: 4, optimizer: adam, lr: 4.0e-3, weight_decay: 0.0, flip: true}",
        "options": "{stride: 4.0, kernel: 9, sigma: 1.5, scale: 10.0}",  # as in recipes/mini/counting.yaml
    },
    "regression": {
        "size": 64,
        "model": "{name: small_cnn, options: {width: 16}}",
        "train": "{epochs: 40, batch_size: 32, optimizer: adam, lr: 1.0e-3, padding: 4}",
    },
}


def new_recipe(
    folder: Path,
    images: Path,
    vocabulary: Vocabulary,
    test: Path | None,
    initial: int,
    step: int,
    audit: float | None,
) -> str:
    """The recipe of a new project, as YAML; arguments as of `Layout.make`."""
    share = audit if audit is not None else 0 if test else AUDIT_SHARE
    return RECIPE.format(
        task=vocabulary.task,
        images=_scalar(_place(folder, images)),
        what=VOCABULARIES[vocabulary.task][0],
        names=f"[{', '.join(map(_scalar, vocabulary.names))}]",
        test=_scalar(_place(folder, test)) if test else "null",
        initial=initial,
        step=step,
        audit=f"{share:g}",
        **{"options": "{}", **DEFAULTS[vocabulary.task]},
    )


def _place(folder: Path, path: Path) -> str:
    """The path from the project's folder if both are in one folder, so that they can move together; else in full."""
    folder, path = folder.resolve(), path.resolve()
    return os.path.relpath(path, folder) if path.is_relative_to(folder.parent) else str(path)


def _scalar(text: str) -> str:
    """The text as a quoted YAML string that is read back unchanged, as one of JSON with surrogate pairs is not."""
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=sys.maxsize).strip()
