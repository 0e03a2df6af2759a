"""Class folders: a picture in the folder of its class is an answer, one in `_skip` a skip.

Questions are copied into `_todo/PREDICTED CLASS`, named by rank, so that a file browser shows them in order; a person
drags each into the folder of its class. What is left in `_todo` is still open. `_index.jsonl` has a row for each copy
whose name cannot hold its id, and for each answer that was written: who gave it, when, and why a picture was skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from lossrank.errors import DataError, RunError, listed
from lossrank.exchange.answers import Answers, Given, Question, Vocabulary, source_of
from lossrank.folder import write_atomic
from lossrank.names import normal
from lossrank.strict_json import parse_strict, read_text

__all__ = ["read_folders", "write_answer_folders", "write_folders"]

TODO, SKIP, INDEX = "_todo", "_skip", "_index.jsonl"
RANKED = re.compile(r"^\d{5,}~(.+)$")
LONGEST = 240  # bytes of a name: file systems take 255, and while it is copied a name has a few more
NOT_OURS = frozenset({"thumbs.db", "desktop.ini"})
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)")


def write_folders(path: Path, questions: Sequence[Question], vocabulary: Vocabulary, pictures: Path) -> None:
    """Copies of the pictures; one that is there already is left alone.

    Raises:
        RunError: a picture is missing, or the disk is full.
        DataError: the index of an earlier export is damaged.
    """
    folders = _folders(vocabulary)
    index = _index(path)
    there = {sample for sample, _, _ in _pictures(path, index)}
    copies: list[tuple[str, str, int, dict[str, Any]]] = [
        (q.sample, f"{TODO}/{folders.get(q.prediction, '') if isinstance(q.prediction, str) else ''}", q.rank, {})
        for q in questions
        if q.sample not in there
    ]
    _copy(path, copies, folders.values(), index, pictures)


def write_answer_folders(path: Path, answers: Sequence[Given], vocabulary: Vocabulary, pictures: Path) -> None:
    """Copies of the answered and skipped pictures in the folders of their classes, and who answered in the index.

    Raises:
        RunError: a picture is missing, or the disk is full.
    """
    folders = _folders(vocabulary)
    copies: list[tuple[str, str, int, dict[str, Any]]] = []
    for rank, given in enumerate(answers, 1):
        row = {"source": given.source, "time": given.time, "skip": given.skipped}
        copies.append((given.sample, SKIP if given.skipped is not None else folders[given.answer], rank, row))
    _copy(path, copies, folders.values(), {}, pictures)


def read_folders(path: Path, vocabulary: Vocabulary) -> Answers:
    """The pictures in the folders of the classes and in `_skip`. A name may be the exported one, or an id's own path.

    Raises:
        DataError: it is no folder, or holds no folder of a class.
    """
    if not path.is_dir():
        raise DataError(f"{path} is no folder; expected are class folders")
    names = {folder: name for name, folder in _folders(vocabulary).items()}
    found = {entry.name: normal(entry.name) for entry in path.iterdir() if entry.is_dir()}
    names |= {on_disk: names[form] for on_disk, form in found.items() if form in names}
    strange = sorted(name for name in found if name not in (*names, TODO, SKIP))
    if not names.keys() & found.keys():
        raise DataError(f"{path} holds no folder of a class: expected are {listed(names, 20)}; found {listed(strange)}")
    answers = Answers()
    answers.broken.extend(f"folder {name}: no class of the project has this name" for name in strange if name[0] != ".")
    for sample, folder, row in _pictures(path, _index(path)):
        where, source = f"folder {folder}", source_of(row.get("source"))
        if folder == SKIP:
            answers.given.append(Given(sample, None, where, row.get("skip") or "in the folder _skip", source))
        elif folder in names:
            answers.given.append(Given(sample, names[folder], where, None, source))
    return answers


def _copy(
    path: Path,
    copies: Sequence[tuple[str, str, int, dict[str, Any]]],
    folders: Iterable[str],
    index: dict[str, dict[str, Any]],
    pictures: Path,
) -> None:
    """Copy pictures, each as a sample, a folder, a rank and fields for the index, which is written first."""
    targets: list[tuple[Path, Path]] = []
    taken = {file.name.casefold() for file in path.rglob("*")} if path.is_dir() else set()
    try:
        for folder in {*folders, SKIP, *(folder for _, folder, _, _ in copies)}:
            (path / folder).mkdir(parents=True, exist_ok=True)
        for sample, folder, rank, row in copies:
            name = f"{rank:05d}~{quote(sample, safe=' ')}"
            if len(name) > LONGEST or name.casefold() in taken:
                name = f"{rank:05d}~{hashlib.blake2b(sample.encode(), digest_size=16).hexdigest()}{_ending(sample)}"
                index[name] = {"file": name, "id": sample, "folder": folder, **row}
            elif row:
                index[name] = {"file": name, "id": sample, "folder": folder, **row}
            taken.add(name.casefold())
            targets.append((pictures / sample, path / folder / name))
        if index:
            write_atomic(path / INDEX, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in index.values()))
        for picture, target in targets:
            part = target.with_name(f".{target.name}.part")  # hidden: no reader takes half a picture for an answer
            shutil.copyfile(picture, part)
            part.replace(target)
    except OSError as error:
        raise RunError(f"{path} could not be written: {error.strerror} ({error.filename}); run again") from error


def _index(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of the index by file name."""
    if not (path / INDEX).exists():
        return {}
    rows = {}
    for number, line in enumerate(read_text(path / INDEX).split("\n"), 1):
        if line.strip():
            where = f"line {number} of {path / INDEX}"
            row = parse_strict(line, where)
            if not isinstance(row, dict) or not {"file", "id", "folder"} <= {k for k in row if isinstance(row[k], str)}:
                raise DataError(f"{where} is damaged; expected are file, id and folder")
            rows[row["file"]] = row
    return rows


def _pictures(path: Path, index: dict[str, dict[str, Any]]) -> list[tuple[str, str, dict[str, Any]]]:
    """Id, top folder and row of the index of every file below, in a fixed order; hidden files are not looked at.

    The row is empty where a person moved the file to another folder: who answered is somebody else then.
    """
    found = []
    for folder, _, files in sorted(os.walk(path)):
        inside = Path(folder).relative_to(path)
        for name in sorted(files):
            if inside.parts and not name.startswith(".") and name.casefold() not in NOT_OURS:
                row = index.get(name, {})
                ranked = RANKED.match(name)
                sample = unquote(ranked[1]) if ranked else Path(*inside.parts[1:], name).as_posix()
                stays = row.get("folder") == inside.as_posix()
                found.append((row.get("id", sample), inside.parts[0], row if stays else {}))
    return found


def _folders(vocabulary: Vocabulary) -> dict[str, str]:
    """By class the name of its folder. No two are one on a file system that takes `Cat` for `cat`."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in vocabulary.names:
        folder = _folder(name)
        if folder.casefold() in taken:
            folder = "".join(f"%{byte:02X}" for byte in name.encode())
        if len(folder) > LONGEST:
            folder = f"{name.encode()[:40].hex()}~{hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}"
        taken.add(folder.casefold())
        found[name] = folder
    return found


def _folder(name: str) -> str:
    """A class as a name of one folder, whatever characters it has."""
    escaped = quote(name, safe=" ")
    if escaped[0] in "._" or RESERVED.match(escaped):
        escaped = f"%{ord(escaped[0]):02X}{escaped[1:]}"
    return f"{escaped[:-1]}%{ord(escaped[-1]):02X}" if escaped[-1] in " ." else escaped


def _ending(sample: str) -> str:
    ending = Path(sample).suffix
    return ending if ending.isascii() and len(ending) <= 10 and "%" not in quote(ending) else ""
