"""A plain model of a project, in dicts and lists, and a kill that is simulated in process; see project_sequences.py."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lossrank import Project, folder
from lossrank.ledger import Event, Ledger

UNASKED = "answered unasked, in"


@dataclass(frozen=True)
class Entry:
    """Something that `undo` takes back."""

    command: int
    kind: str
    value: Any
    """An answer, or the reason of a skip or a retirement."""


@dataclass(frozen=True)
class Asked:
    batch: int
    rank: int
    reason: str
    version: int | None
    """Of the picture's file at that time; None where it was gone."""


@dataclass
class Plain:
    """What a project must hold."""

    added: set[str] = field(default_factory=set)
    asked: dict[str, Asked] = field(default_factory=dict)
    entries: dict[str, list[Entry]] = field(default_factory=dict)
    """Of each sample what stands, oldest first."""
    command: int = 0

    def copy(self) -> Plain:
        return deepcopy(self)

    def values(self, sample: str, *kinds: str) -> list[Any]:
        return [entry.value for entry in self.entries.get(sample, ()) if entry.kind in kinds]

    def answers(self) -> dict[str, Any]:
        """Current answers in the order in which they were asked."""
        found = {sample: self.values(sample, "answer", "revise") for sample in self.in_order()}
        return {sample: values[-1] for sample, values in found.items() if values}

    def skipped(self) -> dict[str, str]:
        skips = {sample: self.values(sample, "skip") for sample in self.entries}
        return {s: why[-1] for s, why in skips.items() if why and not self.values(s, "answer")}

    def retired(self) -> dict[str, str]:
        found = {sample: self.values(sample, "retire") for sample in self.entries}
        return {sample: why[-1] for sample, why in found.items() if why}

    def open(self) -> list[str]:
        return [sample for sample in self.in_order() if not self.values(sample, "answer", "skip", "retire")]

    def in_order(self) -> list[str]:
        return sorted(self.asked, key=lambda sample: (self.asked[sample].batch, self.asked[sample].rank))

    def batches(self) -> int:
        return 1 + max((asked.batch for asked in self.asked.values()), default=-1)

    def free(self) -> set[str]:
        """What may still be asked about."""
        return self.added - self.asked.keys() - self.retired().keys()

    def write(self, entries: Iterable[tuple[str, str, Any]]) -> None:
        """One command."""
        self.command += 1
        for sample, kind, value in entries:
            self.entries.setdefault(sample, []).append(Entry(self.command, kind, value))

    def undo(self) -> None:
        latest = max(entry.command for entries in self.entries.values() for entry in entries)
        for sample, entries in self.entries.items():
            self.entries[sample] = [entry for entry in entries if entry.command != latest]

    def undo_each(self, ids: Iterable[str]) -> None:
        for sample in dict.fromkeys(ids):
            self.entries[sample].pop()

    def take(self, events: Iterable[Event], versions: Mapping[str, int | None]) -> None:
        """What a `select` wrote, as the ledger has it: events of one time are one command."""
        time, command = "", self.command
        for event in events:
            if event.time != time:
                time, command = event.time, command + 1
            if event.kind == "ask":
                assert event.batch is not None
                assert event.rank is not None
                self.asked[event.sample] = Asked(event.batch, event.rank, event.source, versions[event.sample])
            elif event.kind == "undo":
                self.entries[event.sample].pop()
            else:
                value = event.value if event.kind == "revise" else event.source
                self.entries.setdefault(event.sample, []).append(Entry(command, event.kind, value))
        self.command = command


def differences(project: Project, plain: Plain) -> list[str]:
    """In what a project is not as it must be."""
    ledger, status = project.ledger, project.status()
    asked = {s: (a.batch, a.rank, a.reason) for s, a in plain.asked.items()}
    history = list(ledger.history())
    found = {e.sample: (e.batch, e.rank, e.source) for e in history if e.kind == "ask"}
    pairs = {
        "asked once": (sum(e.kind == "ask" for e in history), len(asked)),
        "asked": (found, asked),
        "added": (ledger.added(), plain.added),
        "answers": (list(ledger.labelled().items()), list(plain.answers().items())),
        "skipped": (ledger.skipped(), plain.skipped()),
        "retired": (ledger.retired(), plain.retired()),
        "open": (list(ledger.open_questions()), plain.open()),
        "questions": ([q.sample for q in project.questions()], plain.open()),
        "batches": (ledger.batches(), plain.batches()),
        "status": (
            (status.pool, status.labelled, status.open, status.skipped, status.retired, status.batches),
            (
                len(plain.free()),
                len(plain.answers().keys() - plain.retired().keys()),
                len(plain.open()),
                len(plain.skipped().keys() - plain.retired().keys()),
                len(plain.retired()),
                plain.batches(),
            ),
        ),
    }
    rows = {question["id"] for row in project.layout.batches() for question in row["questions"]}
    chosen = {sample for sample, asked in plain.asked.items() if not asked.reason.startswith(UNASKED)}
    pairs["asked without a row"] = (chosen - rows, set())
    return [f"{name}: {now!r} must be {must!r}" for name, (now, must) in pairs.items() if now != must]


class Killed(BaseException):
    """Stands for SIGKILL: after it, nothing of the killed call reaches the disk, clean-up included."""


class Kill:
    """Kills at one of the instants at which something becomes durable: before or after each commit or file.

    Args:
        point: which of these instants, from 0; None: never.
        lost: bytes at the end of the file being written that never reach the disk.
    """

    def __init__(self, point: int | None, lost: int = 0) -> None:
        self.left, self.lost, self.dead = point, lost, False

    def reach(self, file: int | None = None) -> None:
        if self.left is None or self.dead:
            return
        self.left -= 1
        if self.left >= 0:
            return
        self.dead = True
        if file is not None and stat.S_ISREG(os.fstat(file).st_mode):
            os.ftruncate(file, max(0, os.fstat(file).st_size - self.lost))
        raise Killed

    def __getattr__(self, name: str) -> Any:  # stands for the module `os` in `lossrank.folder`
        return getattr(os, name)

    def fsync(self, file: int) -> None:
        self.reach(file)

    def ftruncate(self, file: int, size: int) -> None:
        if not self.dead:
            os.ftruncate(file, size)

    @contextmanager
    def here(self) -> Iterator[Kill]:
        """Within it the kill may come; the files of `lossrank.folder` do not wait for the disk."""
        writing, unlink = Ledger._writing, Path.unlink

        @contextmanager
        def killed_writing(ledger: Ledger) -> Iterator[None]:
            nested = ledger._connection.in_transaction
            with writing(ledger):
                yield
                if not nested:
                    self.reach()
            if not nested:
                self.reach()

        def unlinked(path: Path, missing_ok: bool = False) -> None:
            if not self.dead:
                unlink(path, missing_ok)

        with (
            patch.object(folder, "os", self),
            patch.object(Ledger, "_writing", killed_writing),
            patch.object(Path, "unlink", unlinked),
        ):
            yield self
