"""The commands of a project, each a typed function. Those that do not train never wait for torch."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Literal

from rich.text import Text

from lossrank.console import bold, console
from lossrank.errors import ConfigError
from lossrank.picture_files import look_below
from lossrank.project import Project
from lossrank.project.progress import StageBar
from lossrank.project.terminal import (
    NO_FORECAST,
    SHOWN,
    accuracy,
    counts,
    expected,
    left_out,
    one_line,
    print_answering,
    print_pictures,
    questions_table,
    rounds_table,
    taken_back,
)

__all__ = [
    "add",
    "export",
    "ingest",
    "init",
    "retire",
    "revise",
    "select_batch",
    "skip",
    "status",
    "undo",
    "write_page_of",
]


def init(
    images: Path | None = None,
    task: Literal["classification", "pose", "counting", "regression"] = "classification",
    classes: str = "",
    joints: str = "",
    test: Path | None = None,
    out: Path | None = None,
    initial: int = 40,
    step: int = 40,
    audit: float | None = None,
) -> int:
    """Make a project: a folder with a recipe to edit and a ledger, for the pictures of another folder.

    Args:
        images: the pictures; they stay where they are, and ids are their paths below it.
        task: what a person answers: a class, joints, points that are counted, or a value.
        classes: of classification, cat,dog for instance.
        joints: of pose, left_wrist,right_wrist for instance.
        test: answers to measure on that are never trained on, a file or class folders; without, audit answers.
        out: the project's folder; IMAGES-project if not given.
        initial: pictures of the first batch.
        step: pictures of each batch after it.
        audit: share of all questions that is drawn at random and never trained on, to measure the model; 0.1 without
            --test, else 0.
    """
    if images is None:
        raise ConfigError("init needs to be told where the pictures are: --images FOLDER")
    given = {"classes": classes, "joints": joints}
    wanted = {"classification": "classes", "pose": "joints"}.get(task)
    strange = [name for name, value in given.items() if value and name != wanted]
    if strange:
        raise ConfigError(f"task {task!r} has no {strange[0]}" + (f"; it takes --{wanted}" if wanted else ""))
    names = [name.strip() for name in given.get(wanted or "", "").split(",") if name.strip()]
    folder = out or images.with_name(f"{images.resolve().name}-project")
    with Project.init(folder, images, task, names, test=test, initial=initial, step=step, audit=audit) as project:
        print_pictures(look_below(images), project.status().pool)
        console.print("The recipe, to be edited:", bold(folder / "recipe.yaml"))
        console.print(f"Next: lossrank select {quote(str(folder))}")
    return 0


def status(project: Path) -> int:
    """Say where a project stands, and what to do next.

    Args:
        project: its folder.
    """
    with Project.open(project) as opened:
        found = opened.status()
    console.print(counts(found))
    for line in left_out(found):
        console.print(line, soft_wrap=True)
    if found.rounds:
        console.print(rounds_table(found))
        console.print(accuracy(found), soft_wrap=True)
        console.print(f"Chosen by: {found.rounds[-1]['reason']}")
    if found.forecast is not None:
        console.print(expected(found.forecast, found.rounds[-1]["metric"]["unit"]))
    elif found.rounds:
        console.print(NO_FORECAST)
    console.print(f"Next: {found.next}")
    return 0


def select_batch(
    project: Path, n: int | None = None, more: bool = False, out: Path | None = None, trust: bool = False
) -> int:
    """Train if there are new answers, choose a batch, write it down, show it. While questions are open, show those.

    Args:
        project: its folder.
        n: how many; the recipe's budget if not given.
        more: choose although questions are open.
        out: also export the questions there; a file with answers in it is never overwritten.
        trust: import the code that the recipe names.
    """
    with Project.open(project) as opened, StageBar() as bar:
        if out is not None:
            opened.check_export(out)  # before minutes of training
        questions = opened.select(
            n,
            more=more,
            trust=trust,
            on_stage=bar.stage,
            on_epoch=bar.progress,
            on_note=lambda note: console.print(note, soft_wrap=True),
        )
        found = opened.status()
        if out is not None and questions:
            opened.export(out)
    if not questions:
        console.print(f"Nothing is left to ask. Next: {found.next}")
        return 0
    console.print(questions_table(questions))
    if len(questions) > SHOWN:
        rest = str(out) if out is not None else f"lossrank export {quote(str(project))} NEW_FILE"
        console.print(f"and {len(questions) - SHOWN} more: {rest}")
    if out is not None:
        console.print("The questions are in", bold(out))
        print_answering(project, out)
    else:
        console.print(f"Next: {found.next}")
    return 0


def export(project: Path, out: Path, format: str | None = None, answers: bool = False) -> int:
    """Write the open questions, with what the model says of each, for a tool or a person to answer.

    Args:
        project: its folder.
        out: a .csv, .jsonl or .json file, or a folder for class folders; a file with answers in it is never
            overwritten.
        format: csv, jsonl, folders, coco or points, where the name does not tell.
        answers: write the collected answers and skips instead, with who gave them and when.
    """
    with Project.open(project) as opened:
        count = opened.export_answers(out, format) if answers else opened.export(out, format)
    if answers:
        console.print(f"{count} answers and skips are in", bold(out))
        return 0
    console.print(f"{count} questions, the one to answer first in front, are in", bold(out))
    print_answering(project, out)
    return 0


def ingest(
    project: Path,
    answers: Path,
    format: str | None = None,
    source: str | None = None,
    allow_unasked: bool = False,
    allow_changed: bool = False,
    revise: bool = False,
    keep_good: bool = False,
) -> int:
    """Take in answers and skips: all of a file or nothing of it.

    Args:
        project: its folder.
        answers: a .csv, .jsonl or .json file, or class folders.
        format: csv, jsonl, folders, coco or points, where the name does not tell.
        source: who answered; the file's name if not given.
        allow_unasked: take answers about pictures that were never asked.
        allow_changed: take answers about pictures that are gone or have changed since they were asked.
        revise: take another answer than the known one as a correction.
        keep_good: leave out what cannot be taken in, and take in the rest.
    """
    with Project.open(project) as opened:
        done = opened.ingest(
            answers,
            source,
            form=format,
            allow_unasked=allow_unasked,
            allow_changed=allow_changed,
            revise=revise,
            keep_good=keep_good,
        )
        found = opened.status()
    for line in done.left_out:
        console.print(Text("left out", "yellow"), line, highlight=False)
    parts = (
        (done.new, "new answers"),
        (done.corrected, "corrected"),
        (done.skipped, "skipped"),
        (done.same, "known already"),
        (done.unasked, "never asked"),
        (len(done.left_out), "left out"),
    )
    told = [f"{count} {what}" for count, what in parts if count]
    console.print(", ".join(told) or "no answers in it")
    console.print(f"Next: {found.next}")
    return 0


def skip(project: Path, ids: list[str], reason: str = "skipped") -> int:
    """Note that samples would not or could not be answered; an answer may still come.

    Args:
        project: its folder.
        ids: the samples.
        reason: for the ledger.
    """
    with Project.open(project) as opened:
        opened.skip(ids, reason)
    console.print(f"{len(ids)} skipped")
    return 0


def revise(project: Path, sample: str, answer: str, source: str = "command line") -> int:
    """Correct one answer; the old one stays in the history.

    Args:
        project: its folder.
        sample: its id.
        answer: a class, or JSON as in a JSONL file.
        source: who corrects.
    """
    with Project.open(project) as opened:
        opened.revise({sample: opened.vocabulary.parse(answer)}, source)
    console.print(f"{one_line(sample)} is now {answer}")
    return 0


def undo(project: Path, ids: list[str] | None = None) -> int:
    """Take back the latest answer, correction, skip or retirement, by a new entry; nothing is erased.

    Args:
        project: its folder.
        ids: of these samples; if not given, all answers, corrections, skips and retirements that the latest command
            wrote: one file of answers, one skip, revise or retire. Questions and added pictures stay.
    """
    with Project.open(project) as opened:
        console.print(taken_back(opened.undo(ids or None, "command line")))
    return 0


def retire(project: Path, ids: list[str], reason: str = "retired") -> int:
    """Take samples out of the pool: they are never asked again.

    Args:
        project: its folder.
        ids: the samples.
        reason: for the ledger.
    """
    with Project.open(project) as opened:
        opened.retire(ids, reason)
    console.print(f"{len(ids)} retired")
    return 0


def add(project: Path) -> int:
    """Take in pictures that have come into the project's picture folder since.

    Args:
        project: its folder.
    """
    with Project.open(project) as opened:
        console.print(f"{opened.add()} new pictures; {opened.status().pool} in the pool")
        for line in look_below(opened.layout.images).lines():
            console.print(line)
    return 0


def write_page_of(project: Path, out: Path | None) -> int:
    """Write a project's page."""
    from lossrank.project.page import write_project_page

    with Project.open(project) as opened:
        page = write_project_page(opened, out or project / "report.html")
    console.print("Open", bold(page))
    return 0
