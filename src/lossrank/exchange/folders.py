"""Class folders: a picture in the folder of its class is an answer, one in `_skip` a skip.

Questions are copied into `_todo/PREDICTED CLASS`, named by rank, so that a file browser shows them in order; a person
drags each into the folder of its class. What is left in `_todo` is still open.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, unquote

from lossrank.errors import DataError, RunError, listed
from lossrank.exchange.answers import Answers, Given, Question, Vocabulary

__all__ = ["read_folders", "write_folders"]

TODO, SKIP = "_todo", "_skip"
RANKED = re.compile(r"^\d{5,}~(.+)$")


def write_folders(path: Path, questions: Sequence[Question], vocabulary: Vocabulary, pictures: Path) -> None:
    """Copies of the pictures; one that is there already is left alone.

    Raises:
        RunError: a picture is missing, or the disk is full.
    """
    try:
        for name in (*map(_folder, vocabulary.names), SKIP):
            (path / name).mkdir(parents=True, exist_ok=True)
        there = {sample for sample, _ in _pictures(path)}
        for q in questions:
            folder = path / TODO / (_folder(q.prediction) if isinstance(q.prediction, str) else "")
            if q.sample not in there:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(pictures / q.sample, folder / f"{q.rank:05d}~{quote(q.sample, safe=' ')}")
    except OSError as error:
        raise RunError(f"{path} could not be written: {error.strerror} ({error.filename}); run again") from error


def read_folders(path: Path, vocabulary: Vocabulary) -> Answers:
    """What lies in the folders of the classes and in `_skip`. A name may be the exported one, or an id's own path."""
    names = {_folder(name): name for name in vocabulary.names}
    strange = sorted(e.name for e in path.iterdir() if e.is_dir() and e.name not in (*names, TODO, SKIP))
    answers = Answers()
    if not names.keys() & {entry.name for entry in path.iterdir()}:
        raise DataError(f"{path} holds no folder of a class: expected are {listed(names, 20)}; found {listed(strange)}")
    answers.broken.extend(f"folder {name}: no class of the project has this name" for name in strange if name[0] != ".")
    for sample, folder in _pictures(path):
        where = f"folder {folder}"
        if folder == SKIP:
            answers.given.append(Given(sample, None, where, "in the folder _skip"))
        elif folder in names:
            answers.given.append(Given(sample, names[folder], where))
    return answers


def _pictures(path: Path) -> list[tuple[str, str]]:
    """Id and top folder of every file below, in a fixed order; hidden files are not looked at."""
    found = []
    for folder, _, files in sorted(os.walk(path)):
        inside = Path(folder).relative_to(path)
        for name in sorted(files):
            if inside.parts and not name.startswith("."):
                ranked = RANKED.match(name)
                sample = unquote(ranked[1]) if ranked else Path(*inside.parts[1:], name).as_posix()
                found.append((sample, inside.parts[0]))
    return found


def _folder(name: str) -> str:
    """A class as a name of one folder, whatever characters it has."""
    escaped = quote(name, safe=" ")
    return f"%{ord(escaped[0]):02X}{escaped[1:]}" if escaped[0] in "._" else escaped
