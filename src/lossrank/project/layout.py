"""What lies where in a project folder, and what was told when it was made. Nothing here needs torch.

recipe.yaml          the task, the pictures, the strategy and the training: to be edited
project.json         marks the folder; its format
ledger.sqlite        what was asked and answered
batches.jsonl        a row per batch: what was asked, why, and what the model said of it; written before the ledger
rounds.jsonl         a row per training, as in a run folder
weights/             of the latest training
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lossrank.errors import ConfigError, DataError, RunError
from lossrank.exchange import VOCABULARIES, Vocabulary
from lossrank.folder import read_lines, write_atomic
from lossrank.ledger import Ledger, SampleId
from lossrank.parsing import read_json_object, read_yaml_mapping
from lossrank.regular import read_file

__all__ = ["FORMAT", "Layout", "digest_of", "is_project"]

FORMAT = 1  # raised when an older version could no longer read a project folder

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
  candidates: null       # a random subset to choose from each round; null: all that was not asked
  warm_start: true
seed: 0
"""
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


@dataclass(frozen=True)
class Layout:
    """A project folder's files, and what its recipe says of pictures and answers."""

    folder: Path
    images: Path
    vocabulary: Vocabulary
    options: Mapping[str, Any]
    """The recipe's `dataset_options`."""

    @classmethod
    def make(
        cls, folder: Path, images: Path, vocabulary: Vocabulary, *, test: Path | None, initial: int, step: int
    ) -> Layout:
        """Write a new project's recipe and mark.

        Raises:
            RunError: the folder holds a project or a run already.
            DataError: there is no folder of pictures.
        """
        if not images.is_dir():
            raise DataError(f"there is no folder {images} of pictures")
        if is_project(folder) or (folder / "recipe.yaml").exists():
            raise RunError(f"{folder} holds a project or a run already; take another folder with --out")
        told = {"options": "{}", **DEFAULTS[vocabulary.task]}
        text = RECIPE.format(
            task=vocabulary.task,
            images=json.dumps(str(images.resolve())),
            what=VOCABULARIES[vocabulary.task][0],
            names=json.dumps(list(vocabulary.names), ensure_ascii=False),
            test=json.dumps(str(test.resolve()) if test else None),
            initial=initial,
            step=step,
            **told,
        )
        write_atomic(folder / "recipe.yaml", text)
        write_atomic(
            folder / "project.json", json.dumps({"format": FORMAT, "lossrank": metadata.version("lossrank")}) + "\n"
        )
        return cls.read(folder)

    @classmethod
    def read(cls, folder: Path) -> Layout:
        """What a project folder says of itself.

        Raises:
            RunError: it is no project, or a newer lossrank's.
            ConfigError: its recipe says nothing of pictures or answers.
        """
        if not is_project(folder):
            raise RunError(f"{folder} is no project: it has no project.json. `lossrank init` makes one")
        written = read_json_object(folder / "project.json").get("format", FORMAT)
        if written > FORMAT:
            raise RunError(
                f"{folder} was written in format {written} by a newer lossrank; this one reads up to {FORMAT}"
            )
        try:
            recipe = read_yaml_mapping(folder / "recipe.yaml")
            options = dict(recipe.get("dataset_options") or {})
            task, data = str(recipe.get("task", "classification")), recipe["data"]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ConfigError(f"{folder / 'recipe.yaml'} is no project's recipe: {error}") from None
        what = VOCABULARIES[task][0] if task in VOCABULARIES else "classes"
        vocabulary = Vocabulary(task, tuple(str(name) for name in options.get(what) or ()))
        return cls(folder, folder / Path(data), vocabulary, options)

    def ledger(self) -> Ledger:
        """The ledger, opened; close it."""
        return Ledger.open(self.folder / "ledger.sqlite")

    def rounds(self) -> list[dict[str, Any]]:
        """A row for each training."""
        return [json.loads(line) for line in read_lines(self.folder / "rounds.jsonl")]

    def batches(self) -> list[dict[str, Any]]:
        """A row for each batch that the project chose."""
        return [json.loads(line) for line in read_lines(self.folder / "batches.jsonl")]

    def test_path(self) -> Path | None:
        """Where the answers to measure on are."""
        test = self.options.get("test")
        return self.folder / Path(test) if test else None

    def changed(self, digests: Mapping[SampleId, str]) -> dict[SampleId, str]:
        """Pictures that are gone, or other than their digests say, with which of the two."""
        found = {}
        for sample, digest in digests.items():
            now = digest_of(self.images / sample)
            if now != digest:
                found[sample] = "gone" if now is None else "changed since it was asked"
        return found

    def digests(self, ids: Iterable[SampleId]) -> dict[SampleId, str]:
        """Of the pictures that are there."""
        found = {sample: digest_of(self.images / sample) for sample in ids}
        return {sample: digest for sample, digest in found.items() if digest is not None}


def is_project(folder: Path) -> bool:
    """Whether a folder is marked as a project."""
    return (folder / "project.json").is_file()


def digest_of(file: Path) -> str | None:
    """BLAKE2b of a file's bytes, 16 of them as hex; None where it cannot be read."""
    try:
        return hashlib.blake2b(read_file(file), digest_size=16).hexdigest()
    except OSError:
        return None
