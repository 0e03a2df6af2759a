"""The files of a project folder, and what its recipe states. Nothing here needs torch.

recipe.yaml          the task, the pictures, the strategy and the training: to be edited
project.json         marks the folder; its format; written last
ledger.sqlite        what was asked and answered
batches.jsonl        a row per batch: what was asked, why, and what the model said of it; written before the ledger
rounds.jsonl         a row per training, as in a run folder
weights/             of the latest training
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from lossrank.errors import ConfigError, DataError, RunError, unknown_name
from lossrank.exchange import VOCABULARIES, Vocabulary
from lossrank.folder import FolderLock, write_atomic
from lossrank.ledger import Ledger, SampleId
from lossrank.parsing import check_format, read_rows, read_yaml_mapping, rows_from_the_end
from lossrank.picture_files import visible
from lossrank.project.new_recipe import FIRST_LINE, new_recipe
from lossrank.project.records import check_batch, check_round
from lossrank.regular import read_file
from lossrank.requirements import require_count

__all__ = ["FORMAT", "Layout", "digest_of", "is_project"]

LEDGER = "ledger.sqlite"
OPTIONS = ("classes", "joints", "points", "value", "image_size", "channels", "test", "renamed", "head")
FORMAT = 1  # raised when an older version could no longer read a project folder


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
        cls,
        folder: Path,
        images: Path,
        vocabulary: Vocabulary,
        pictures: Iterable[SampleId],
        *,
        test: Path | None,
        initial: int,
        step: int,
        audit: float | None = None,
    ) -> Layout:
        """Write a new project: ledger, recipe, and the mark last. Killed in between, the same call completes it.

        Args:
            pictures: ids of what may be asked about.
            audit: share of the questions; if not given, `AUDIT_SHARE` without test answers, else 0.

        Raises:
            RunError: the folder holds a project or a run already, or cannot be written.
        """
        refuse_occupied(folder)
        text = new_recipe(folder, images, vocabulary, test, initial, step, audit)
        with FolderLock(folder):
            refuse_occupied(folder)
            for leftover in folder.glob(f"{LEDGER}*"):
                leftover.unlink()
            with Ledger.open(folder / LEDGER) as ledger:
                ledger.add(pictures, f"there when the project was made, in {visible(str(images))}")
            write_atomic(folder / "recipe.yaml", text)
            mark = {"format": FORMAT, "lossrank": metadata.version("lossrank")}
            write_atomic(folder / "project.json", json.dumps(mark) + "\n")
        return cls.read(folder)

    @classmethod
    def read(cls, folder: Path) -> Layout:
        """What a project folder says of itself.

        Raises:
            RunError: it is no project, its mark is damaged, or it is a newer lossrank's.
            ConfigError: its recipe says nothing of pictures or answers.
        """
        if not is_project(folder):
            raise RunError(f"{folder} is no project: it has no project.json. `lossrank init` makes one")
        check_format(folder / "project.json", FORMAT)
        path = folder / "recipe.yaml"
        recipe = read_yaml_mapping(path)
        options = recipe.get("dataset_options") or {}
        task, data = str(recipe.get("task", "classification")), recipe.get("data")
        if not isinstance(data, str) or not data:
            raise ConfigError(f"{path}: data must be the pictures' folder, got {data!r}")
        if not isinstance(options, dict):
            raise ConfigError(f"{path}: dataset_options must be a mapping, got {options!r}")
        what = VOCABULARIES[task][0] if task in VOCABULARIES else "classes"
        names, test = options.get(what) or [], options.get("test")
        if not isinstance(names, list):
            raise ConfigError(f"{path}: dataset_options.{what} must be a list of names, got {names!r}")
        if not isinstance(test, str | None):
            raise ConfigError(f"{path}: dataset_options.test must be a path or null, got {test!r}")
        return cls(folder, folder / Path(data), Vocabulary(task, tuple(str(name) for name in names)), options)

    def ledger(self) -> Ledger:
        """The ledger, opened; close it.

        Raises:
            LedgerError: it is missing, damaged, or cannot be opened.
        """
        return Ledger.open(self.folder / LEDGER, create=False)

    def rounds(self) -> list[dict[str, Any]]:
        """A row for each training.

        Raises:
            RunError: a row is damaged; names file and line.
        """
        return read_rows(self.folder / "rounds.jsonl", check=check_round)

    def batches(self) -> list[dict[str, Any]]:
        """A row for each batch that the project chose; errors as `rounds`."""
        return read_rows(self.folder / "batches.jsonl", check=check_batch)

    def latest_batches(self) -> Iterator[dict[str, Any]]:
        """As `batches`, the latest first; a row is read when its turn comes."""
        return rows_from_the_end(self.folder / "batches.jsonl", check=check_batch)

    def check_options(self) -> None:
        """Check the `dataset_options` that decide how pictures are read.

        Raises:
            ConfigError: an unknown one, or a value that makes no sense.
        """
        for name in self.options:
            if name not in OPTIONS:
                raise ConfigError(unknown_name("field of dataset_options", str(name), OPTIONS))
        require_count("dataset_options.image_size", self.image_size)
        if self.channels not in (1, 3) or isinstance(self.channels, bool):
            raise ConfigError(f"dataset_options.channels must be 1 or 3, got {self.channels!r}")
        head = self.options.get("head") or []
        if not isinstance(head, list):
            raise ConfigError(f"dataset_options.head must be a list of two joints, got {head!r}")

    @property
    def image_size(self) -> int:
        """Side in pixels to which pictures are scaled for the model."""
        return self.options.get("image_size", 64)  # type: ignore[no-any-return]

    @property
    def channels(self) -> int:
        """3 for colour, 1 for grey."""
        return self.options.get("channels", 3)  # type: ignore[no-any-return]

    def require_pictures(self) -> None:
        """Check that the pictures' folder exists.

        Raises:
            DataError: it does not; names the line of the recipe that says where it is.
        """
        if not self.images.is_dir():
            raise DataError(self.missing_pictures())

    def missing_pictures(self) -> str:
        """What to do where the pictures' folder does not exist."""
        return (
            f"there is no folder {os.path.normpath(self.images)} of pictures. If it was moved, write its new place "
            f"behind `data:` in {self.folder / 'recipe.yaml'}; a relative path starts at {self.folder}"
        )

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


def refuse_occupied(folder: Path) -> None:
    """Refuse a folder that holds anything but what an interrupted `init` left.

    Raises:
        RunError: it holds a project, a run, or a ledger with more than pictures in it.
    """
    events = _events(folder / LEDGER)
    used = events is not None and set(events) != {"add"}
    rows = any((folder / name).exists() for name in ("rounds.jsonl", "batches.jsonl", "environment.json"))
    recipe = folder / "recipe.yaml"
    ours = not recipe.exists() or read_file(recipe).startswith(FIRST_LINE.encode())
    if is_project(folder) and events is None and not rows:
        return  # version 0.1 wrote the mark before the pictures
    if is_project(folder) or rows or not ours:
        raise RunError(f"{folder} holds a project or a run already; take another folder with --out")
    if used:
        raise RunError(
            f"{folder / LEDGER} holds questions or answers, but {folder} has no project.json; bring that file back, "
            "or take another folder with --out"
        )


def _events(ledger: Path) -> dict[str, int] | None:
    """Number of entries of each kind in a ledger; None of a missing or empty one."""
    if not ledger.exists() or not ledger.stat().st_size:
        return None
    with Ledger.open(ledger) as opened:
        return opened.counts() or None


def digest_of(file: Path) -> str | None:
    """BLAKE2b of a file's bytes, 16 of them as hex; None where it cannot be read."""
    try:
        return hashlib.blake2b(read_file(file), digest_size=16).hexdigest()
    except OSError:
        return None
