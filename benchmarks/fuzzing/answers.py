"""Readers of answers: every format of every task, and class folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fuzzing.reader import Reader, part_of
from lossrank.exchange import Answers, Given, Vocabulary, read_answers, write_answers

TASKS: Mapping[str, tuple[tuple[str, ...], Any, str]] = {
    "classification": (("cat", "dog"), "cat", ""),
    "regression": ((), 12.5, ""),
    "counting": ((), [[1.5, 2], [3, 4]], "json"),
    "pose": (("left", "right"), [[1, 2, 2], [None, None, 0]], "json"),
}


def _said(found: Answers) -> list[tuple[str, str, str]]:
    return [(given.sample, repr(given.answer), str(given.skipped)) for given in found.given]


def _answers(task: str, ending: str) -> Reader:
    names, answer, _ = TASKS[task]
    vocabulary = Vocabulary(task, names)

    def build(folder: Path) -> Path:
        path = folder / f"a.{ending}"
        given = [Given("a.png", answer, "", None, "ann"), Given("b.png", None, "", "dark")]
        write_answers(path, given, vocabulary, folder)
        return path

    return Reader(build, lambda path: _said(read_answers(path, vocabulary)), cut=part_of)


CLASSES = Vocabulary("classification", ("cat", "dog", "a/b", "CON"))


def _folders(folder: Path) -> Path:
    """Class folders with an index; the index is mutated."""
    (folder / "pictures").mkdir()
    given = [
        Given("a.png", "cat", "", None, "ann"),
        Given("b.png", "a/b", "", None, "bob"),
        Given(f"{'long' * 60}.png", "dog", "", None, "ann"),
        Given("c.png", None, "", "dark"),
    ]
    for one in given:
        (folder / "pictures" / one.sample).write_bytes(b"x")
    write_answers(folder / "answers", given, CLASSES, folder / "pictures")
    return folder / "answers" / "_index.jsonl"


def _names(folder: Path) -> Path:
    """Paths of files in class folders, a line each; they are mutated and the files made."""
    (folder / "names").write_text("cat/a.png\n_skip/b.png\na%2Fb/00001~x%2Fc.png\n_todo/dog/00002~d.png\ndog/e f.png\n")
    return folder / "names"


def _read_names(path: Path) -> Any:
    root = os.fsencode(path.parent / "answers")
    shutil.rmtree(root, ignore_errors=True)
    os.mkdir(root)
    for line in path.read_bytes().split(b"\n"):
        parts = [part for part in line.replace(b"\0", b"").split(b"/") if part not in (b"", b".", b"..")]
        if parts and all(len(part) < 255 for part in parts) and not os.path.exists(os.path.join(root, *parts)):
            try:
                os.makedirs(os.path.join(root, *parts[:-1]), exist_ok=True)
                os.close(os.open(os.path.join(root, *parts), os.O_CREAT | os.O_WRONLY))
            except (FileExistsError, NotADirectoryError):
                continue
    return _said(read_answers(path.parent / "answers", CLASSES))


READERS: Mapping[str, Reader] = {
    **{
        f"answers-{task}-{ending}": _answers(task, ending)
        for task, (_, _, own) in TASKS.items()
        for ending in ("csv", "jsonl", *([own] if own else []))
    },
    "answers-folders-index": Reader(_folders, lambda path: _said(read_answers(path.parent, CLASSES))),
    "answers-folders-names": Reader(_names, _read_names),
}
