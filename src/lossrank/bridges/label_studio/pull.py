"""Answers, skips and corrections from Label Studio into the ledger: only what has changed, each of them once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from lossrank.bridges.label_studio.client import Server
from lossrank.bridges.label_studio.interface import FORMS, size_of
from lossrank.bridges.label_studio.link import FOLDER, Link, Memory, NotPushed, Task, instant, tasks_of
from lossrank.bridges.label_studio.reply import checked_field, strange
from lossrank.errors import BridgeError, DataError
from lossrank.exchange import Answers, Given
from lossrank.folder import FolderLock
from lossrank.ledger import SampleId
from lossrank.project import Project

__all__ = ["Pulled", "pull"]

SOURCE = "Label Studio"
CHUNK = 200  # samples of one transaction
OVERLAP = timedelta(minutes=5)  # read again: what was being written while the last pull read


@dataclass
class Pulled:
    """What became of a pull; numbers of samples."""

    new: int = 0
    corrected: int = 0
    skipped: int = 0
    withdrawn: int = 0
    """Answered here before, and skipped there since: the answer was taken back by a new entry."""
    left_out: list[str] = field(default_factory=list)
    """What was not taken in, and why; it is read again next time."""
    foreign: int = 0
    """Tasks that somebody else added."""


@dataclass(frozen=True)
class _Heard:
    """The annotation that counts for a sample."""

    sample: SampleId
    number: int
    updated: str
    skipped: bool
    result: Sequence[Mapping[str, Any]]
    who: int | None
    task: Task
    changed: datetime

    @property
    def order(self) -> tuple[bool, datetime, int]:
        """Answers before skips, then the latest."""
        return (not self.skipped, self.changed, self.number)

    @property
    def mark(self) -> tuple[int, str]:
        """What says whether it was seen."""
        return (self.number, self.updated)


def pull(project: Project, server: Server, *, everything: bool = False, allow_changed: bool = False) -> Pulled:
    """Take in what changed on the server since the last pull. Killed at any instant, the next one goes on.

    Where a sample was annotated more than once, the answer that was changed last counts. An answer that was corrected
    here since it was pulled stays until somebody changes it there.

    Args:
        everything: read all tasks, not only those that changed.
        allow_changed: take answers about pictures that are gone, or have changed since they were asked.

    Raises:
        NotPushed: there is nothing to pull from.
        BridgeError: the server cannot be reached or refuses, or our project was deleted there.
        RunError: another process is pushing or pulling.
    """
    with FolderLock(project.layout.folder / FOLDER):
        memory = Memory(project.layout.folder, project.ledger)
        link = memory.find(server)
        if link is None:
            raise NotPushed(f"{server.url} has no project of {project.layout.folder}: push first")
        done, seen = Pulled(), memory.seen()
        tasks = list(tasks_of(server, link, None if everything else _since(link)))
        done.foreign = sum(task.sample is None for task in tasks)
        damaged: list[tuple[Task, str]] = []
        heard = [one for one in _deciding(tasks, server.url, damaged) if seen.get(one.sample) != one.mark]
        done.left_out += [reason for _, reason in damaged]
        waiting: list[_Heard] = []
        for begin in range(0, len(heard), CHUNK):
            part = heard[begin : begin + CHUNK]
            taken = _take(project, part, allow_changed, done)
            memory.note((one.sample, *one.mark) for one in part if one.sample in taken)
            waiting += [one for one in part if one.sample not in taken]
        # What could not be taken in is read again: the next pull begins no later than there.
        again = [one.task.updated for one in waiting] + [task.updated for task, _ in damaged]
        times = again or [task.updated for task in tasks]
        if times:
            until = min(times) if again else max(times)
            memory.remember(Link(link.url, link.number, until.isoformat()))
        return done


def _since(link: Link) -> str | None:
    if link.read_until is None:
        return None
    try:
        return (datetime.fromisoformat(link.read_until) - OVERLAP).isoformat().replace("+00:00", "Z")
    except OverflowError:  # a server without a clock, whose times begin in year 1
        return None


def _deciding(tasks: Iterable[Task], url: str, damaged: list[tuple[Task, str]]) -> list[_Heard]:
    """Of each sample the annotation that counts, the longest unchanged first: as they came about."""
    best: dict[SampleId, _Heard] = {}
    for task in tasks:
        for annotation in task.annotations if task.sample is not None else ():
            try:
                one = _heard(task, annotation, url)
            except BridgeError as error:
                damaged.append((task, f"{task.sample} (task {task.number}): {error}"))
                continue
            if one.sample not in best or one.order > best[one.sample].order:
                best[one.sample] = one
    return sorted(best.values(), key=lambda one: one.order[1:])


def _heard(task: Task, annotation: Mapping[str, Any], url: str) -> _Heard:
    who = annotation.get("completed_by")
    who = who.get("id") if isinstance(who, Mapping) else who
    updated = checked_field(annotation, "updated_at", str, url)
    instant(updated, url)
    result = annotation.get("result") or []
    if not isinstance(result, list) or not all(isinstance(part, Mapping) for part in result):
        raise strange(url, "result must be a list of objects")
    return _Heard(
        str(task.sample),
        checked_field(annotation, "id", int, url),
        updated,
        bool(annotation.get("was_cancelled")),
        result,
        who if isinstance(who, int) else None,
        task,
        instant(updated, url),
    )


def _take(project: Project, part: Sequence[_Heard], allow_changed: bool, done: Pulled) -> set[SampleId]:
    """Into the ledger, all of it in one transaction; returns the samples that are there as they were heard."""
    by_whom: dict[int | None, Answers] = {}
    for one in part:
        answers = by_whom.setdefault(one.who, Answers())
        where = f"task {one.task.number}, annotation {one.number}"
        try:
            answers.given.append(_given(project, one, where))
        except (DataError, AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            answers.broken.append(f"{one.sample} ({where}): {error}")
    ledger = project.ledger
    with ledger.together():
        done.withdrawn += _withdraw(project, {one.sample for one in part if one.skipped})
        before = ledger.skipped()
        for who, answers in by_whom.items():
            source = f"{SOURCE}, user {who}"
            found = project.ingest(answers, source, revise=True, allow_changed=allow_changed, keep_good=True)
            done.new += found.new
            done.corrected += found.corrected
            done.left_out += found.left_out
        labelled, skipped = ledger.labelled(), ledger.skipped()
        done.skipped += len(skipped.keys() - before.keys())
    given = [g for answers in by_whom.values() for g in answers.given]
    taken = {g.sample for g in given if g.skipped is None and labelled.get(g.sample) == g.answer}
    return taken | {g.sample for g in given if g.skipped is not None and g.sample in (skipped.keys() | labelled.keys())}


def _given(project: Project, one: _Heard, where: str) -> Given:
    """The annotation as an answer; DataError where it is none."""
    if one.skipped:
        return Given(one.sample, None, where, f"skipped in {SOURCE}")
    form, picture = FORMS[project.vocabulary.task], project.layout.images / one.sample
    answer = form.heard(one.result, size_of(picture) if form.measured else (1, 1), project.vocabulary)
    return Given(one.sample, answer, where)


def _withdraw(project: Project, skips: set[SampleId]) -> int:
    """Take back answers that came from there and are skipped there now. What was answered elsewhere stays."""
    ledger = project.ledger
    answered = (skips & ledger.labelled().keys()) - ledger.retired().keys()
    if not answered:
        return 0
    sources = {event.sample: event.source for event in ledger.history() if event.kind in ("answer", "revise")}
    ours = sorted(sample for sample in answered if sources[sample].startswith(SOURCE))
    for sample in ours:
        while sample in ledger.labelled():
            project.undo([sample], f"skipped in {SOURCE}")
    return len(ours)
