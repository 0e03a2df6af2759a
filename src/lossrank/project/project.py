"""`Project`: the verbs of labelling. Those that train import torch when they are called; the others never do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lossrank.config import Recipe, load_recipe
from lossrank.errors import DataError, LedgerError, listed
from lossrank.exchange import Answers, Given, Question, Vocabulary, read_answers, write_questions
from lossrank.folder import FolderLock
from lossrank.ledger import Event, Ledger, SampleId
from lossrank.picture_files import found_below
from lossrank.project.checks import Refusals, sorted_out
from lossrank.project.layout import Layout
from lossrank.project.status import Status, status_of
from lossrank.requirements import require_count, require_strings
from lossrank.trust import check_trusted

__all__ = ["Ingested", "Project"]

Told = Callable[[str], None]


@dataclass(frozen=True)
class Ingested:
    """What became of a file of answers: numbers of samples."""

    new: int = 0
    same: int = 0
    """Known already, word for word."""
    corrected: int = 0
    skipped: int = 0
    unasked: int = 0
    """Of the new ones, those that nobody had asked about."""
    left_out: list[str] = field(default_factory=list)
    """What was not taken in, and why."""


class Project:
    """Pictures, questions and answers in a folder. Close it, or use it in a `with` statement.

    One process at a time may `select`; answers may come in meanwhile.
    """

    def __init__(self, layout: Layout, ledger: Ledger) -> None:
        self.layout, self.ledger = layout, ledger

    @classmethod
    def init(
        cls,
        folder: str | Path,
        images: str | Path,
        task: str = "classification",
        names: Sequence[str] = (),
        *,
        test: str | Path | None = None,
        initial: int = 40,
        step: int = 40,
    ) -> Project:
        """Make a project of the pictures below `images`; ids are their paths there.

        Args:
            names: of the classes, or of the joints.
            test: answers to measure on, a file or class folders; without, the model is measured by cross-fitting.
            initial: samples of the first batch.
            step: samples of each batch after it.

        Raises:
            ConfigError: names that do not fit the task.
            DataError: no such folder, or no pictures in it.
            RunError: there is a project or a run already.
        """
        vocabulary = Vocabulary(task, tuple(require_strings("names", names)))
        require_count("initial", initial)
        require_count("step", step)
        images, test = Path(images), Path(test) if test else None
        if test is not None and not test.exists():
            raise DataError(f"there are no test answers at {test}")
        found = found_below(images)
        if test is not None and test.is_file():
            found -= {given.sample for given in read_answers(test, vocabulary).given}
        layout = Layout.make(Path(folder), images, vocabulary, test=test, initial=initial, step=step)
        project = cls(layout, layout.ledger())
        project.ledger.add(found, f"there when the project was made, in {images}")
        return project

    @classmethod
    def open(cls, folder: str | Path) -> Project:
        """The project in a folder.

        Raises:
            RunError: there is none, or a newer lossrank's.
        """
        layout = Layout.read(Path(folder))
        return cls(layout, layout.ledger())

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()

    @property
    def vocabulary(self) -> Vocabulary:
        """The task, and what an answer may be."""
        return self.layout.vocabulary

    def status(self) -> Status:
        """Where the project stands."""
        return status_of(self.layout, self.ledger)

    def add(self) -> int:
        """Take in pictures that have come into the folder since; returns how many."""
        found, test = found_below(self.layout.images), self.layout.test_path()
        if test is not None and test.is_file():
            found -= {given.sample for given in read_answers(test, self.vocabulary).given}
        return self.ledger.add(found, f"found in {self.layout.images}")

    def select(
        self,
        n: int | None = None,
        *,
        more: bool = False,
        trust: bool = False,
        on_stage: Told = lambda stage: None,
        on_epoch: Any = None,
        on_note: Told = lambda note: None,
    ) -> list[Question]:
        """Train if there are new answers, choose a batch and write it down; returns the open questions.

        While questions are open they are returned as they are, and nothing is trained or chosen.

        Args:
            n: how many; the recipe's `budget` if not given.
            more: choose a batch although questions are open.
            trust: import the code that the recipe names although nobody has confirmed it; see `lossrank.trust`.
            on_note: called with each sentence that a person should read: what an edit of the recipe starts from
                scratch, or weights that are missing.

        Raises:
            RunError: another process is selecting.
            ConfigError: the recipe names code that nobody has confirmed.
        """
        if n is not None:
            require_count("n", n)
        with FolderLock(self.layout.folder):
            from_row = self._unfinished()
            if from_row or (self.ledger.open_questions() and not more):
                return self.questions()
            recipe = self.recipe()
            check_trusted(self.layout.folder, recipe, trust)
            from lossrank.experiment import Watcher
            from lossrank.project.play import play

            watcher = Watcher(on_stage=on_stage, on_epoch=on_epoch or (lambda done, epochs: None), on_note=on_note)
            play(self.layout, recipe, self.ledger, n, watcher)
        return self.questions()

    def recipe(self) -> Recipe:
        """The recipe as it stands now.

        Raises:
            ConfigError: an edit that makes no sense.
        """
        return load_recipe(self.layout.folder / "recipe.yaml")

    def questions(self) -> list[Question]:
        """The open questions, the one to answer first in front, with what the model said of each when it was asked."""
        rows = [question for row in self.layout.batches() for question in row["questions"]]
        said = {question["id"]: question for question in rows}
        return [
            Question(
                sample,
                rank,
                said.get(sample, {}).get("score"),
                said.get(sample, {}).get("prediction"),
                said.get(sample, {}).get("confidence"),
            )
            for rank, sample in enumerate(self.ledger.open_questions(), 1)
        ]

    def export(self, path: str | Path, form: str | None = None) -> int:
        """Write the open questions to a file or into class folders; returns how many.

        Raises:
            DataError: nothing is open.
            ConfigError: a format that does not fit the task.
        """
        questions = self.questions()
        if not questions:
            raise DataError(f"no question is open in {self.layout.folder}; select asks some")
        write_questions(Path(path), questions, self.vocabulary, self.layout.images, form)
        return len(questions)

    def ingest(
        self,
        answers: str | Path | Mapping[SampleId, Any] | Answers,
        source: str | None = None,
        *,
        form: str | None = None,
        allow_unasked: bool = False,
        allow_changed: bool = False,
        revise: bool = False,
        keep_good: bool = False,
    ) -> Ingested:
        """Take in answers and skips, all or none of them: one transaction.

        Args:
            answers: a file, class folders, a mapping of id to answer, or what a reader made of another format.
            source: who answered; the file's name if not given.
            allow_unasked: take answers about pictures that were never asked.
            allow_changed: take answers about pictures that are gone, or have changed since they were asked.
            revise: take another answer than the known one as a correction.
            keep_good: leave out what cannot be taken in, and take in the rest.

        Raises:
            DataError: something cannot be taken in; every kind of trouble is listed, and nothing was written.
        """
        if isinstance(answers, str | Path):
            source = source or Path(answers).name
            answers = read_answers(Path(answers), self.vocabulary, form)
        elif isinstance(answers, Mapping):
            answers = _from_mapping(answers, self.vocabulary)
        allowed = Refusals(unasked=allow_unasked, changed=allow_changed, other=revise)
        found = sorted_out(answers, self.layout, self.ledger, allowed)
        if found.trouble and not keep_good:
            raise DataError(
                f"{found.told()}. Nothing was taken in; --keep_good takes in the {len(found.good)} good ones"
            )
        return self._write(found.good, source or "python", found.trouble_lines())

    def _write(self, good: Sequence[Given], source: str, left_out: list[str]) -> Ingested:
        ledger = self.ledger
        answers = {given.sample: given.answer for given in good if given.skipped is None}
        with ledger.together():
            asked, current = ledger.asked(), ledger.labelled()
            unasked = [(given.sample, None) for given in good if given.sample not in asked]
            if unasked:
                ids = [sample for sample, _ in unasked]
                ledger.ask(None, unasked, f"answered unasked, in {source}", self.layout.digests(ids))
            new = {i: answer for i, answer in answers.items() if i not in current}
            corrected = {i: answer for i, answer in answers.items() if i in current and current[i] != answer}
            ledger.answer(new, source)
            ledger.revise_all(corrected, source)
            known = ledger.skipped()
            skips = {g.sample: g.skipped for g in good if g.skipped and g.sample not in current}
            for reason in dict.fromkeys(skips.values()):
                ledger.skip([i for i, why in skips.items() if why == reason and known.get(i) != why], str(reason))
        same = len(answers) - len(new) - len(corrected)
        return Ingested(len(new), same, len(corrected), len(skips), len(unasked), left_out)

    def skip(self, ids: Sequence[SampleId], reason: str) -> None:
        """Note that samples would not or could not be answered. An answer may still come.

        Raises:
            LedgerError: a sample was never asked.
        """
        self.ledger.skip(ids, reason)

    def revise(self, answers: Mapping[SampleId, Any], source: str = "python") -> None:
        """Correct answers; the old ones stay in the history.

        Raises:
            DataError: an answer is none that the task knows.
            LedgerError: a sample has no answer yet.
        """
        self.ledger.revise_all({i: self.vocabulary.checked(answer) for i, answer in answers.items()}, source)

    def undo(self, ids: Sequence[SampleId] | None = None, source: str = "python") -> list[Event]:
        """Take back the latest answer, correction, skip or retirement of these samples, or all that the latest call
        wrote down, by a new entry; returns what was taken back.

        Raises:
            LedgerError: there is nothing to take back.
        """
        return self.ledger.undo(ids, source)

    def retire(self, ids: Sequence[SampleId], reason: str) -> None:
        """Take samples out of the pool: they are never asked again.

        Raises:
            LedgerError: the project does not know a sample.
        """
        ids = require_strings("ids", ids)
        strange = sorted(set(ids) - self.ledger.added())
        if strange:
            raise LedgerError(f"{len(strange)} samples are not in the project: {listed(strange)}")
        self.ledger.retire(ids, reason)

    def _unfinished(self) -> bool:
        """Ask what a killed `select` had chosen and not asked yet; whether there was any."""
        rows = self.layout.batches()
        if not rows or {q["id"] for q in rows[-1]["questions"]} & self.ledger.asked():
            return False
        from lossrank.project.play import ask

        return ask(self.layout, self.ledger, rows[-1]) is not None


def _from_mapping(answers: Mapping[SampleId, Any], vocabulary: Vocabulary) -> Answers:
    found = Answers()
    for sample, answer in answers.items():
        try:
            found.given.append(Given(sample, vocabulary.checked(answer), "the mapping"))
        except DataError as error:
            found.broken.append(f"{sample}: {error}")
    return found
