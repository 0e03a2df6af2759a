"""`Project`: the verbs of labelling. Those that train import torch when they are called; the others never do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lossrank.config import Recipe, load_recipe
from lossrank.errors import DataError, LedgerError, listed
from lossrank.exchange import Answers, Question, Vocabulary, read_answers, write_answers, write_questions
from lossrank.folder import FolderLock
from lossrank.ledger import Event, Ledger, SampleId
from lossrank.picture_files import found_below, visible
from lossrank.project.answered_files import refuse_answered, refuse_other_answers
from lossrank.project.checks import Refusals, digests_of, sorted_out
from lossrank.project.collected import collected
from lossrank.project.ingesting import Ingested, answers_in, record
from lossrank.project.layout import Layout
from lossrank.project.matching import matched
from lossrank.project.placed import placed, require_inside
from lossrank.project.questions import ask_the_rest, asked_with, open_questions
from lossrank.project.status import Status, status_of
from lossrank.requirements import require_count, require_number, require_strings
from lossrank.trust import check_trusted

__all__ = ["Project"]

Told = Callable[[str], None]


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
        audit: float | None = None,
    ) -> Project:
        """Make a project of the pictures below `images`; ids are their paths there.

        Args:
            names: of the classes, or of the joints.
            test: answers to measure on, a file or class folders; without, the model is measured on audit answers.
            initial: samples of the first batch.
            step: samples of each batch after it.
            audit: share of all questions that is drawn at random and never trained on, to measure the model; if not
                given, 0.1 without `test`, else 0.

        Raises:
            ConfigError: names that do not fit the task, or an `audit` outside of 0 to 0.5.
            DataError: no such folder, or no pictures in it.
            RunError: there is a project or a run already.
        """
        vocabulary = Vocabulary(task, tuple(require_strings("names", names)))
        require_count("initial", initial)
        require_count("step", step)
        if audit is not None:
            require_number("audit", audit, 0, 0.5)
        images, test = Path(images), Path(test) if test else None
        if test is not None and not test.exists():
            raise DataError(f"there are no test answers at {test}")
        found = _to_ask_about(images, test, vocabulary)
        layout = Layout.make(
            Path(folder), images, vocabulary, found, test=test, initial=initial, step=step, audit=audit
        )
        return cls(layout, layout.ledger())

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
        self.layout.require_pictures()
        found = _to_ask_about(self.layout.images, self.layout.test_path(), self.vocabulary)
        return self.ledger.add(found, f"found in {visible(str(self.layout.images))}")

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
        self.layout.require_pictures()
        with FolderLock(self.layout.folder):
            if ask_the_rest(self.layout, self.ledger) or (self.ledger.open_questions() and not more):
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
        return open_questions(self.layout, self.ledger)

    def asked_with(self, samples: set[SampleId]) -> dict[SampleId, dict[str, Any]]:
        """What the batches' rows hold of these samples. Rows are read from the latest, until all samples are found."""
        return asked_with(self.layout, samples)

    def export(self, path: str | Path, form: str | None = None) -> int:
        """Write the open questions to a file or into class folders; returns how many.

        A file without answers is replaced. Class folders are added to.

        Raises:
            DataError: nothing is open, or the file holds answers or something else that a person made.
            ConfigError: a format that does not fit the task.
        """
        self.check_export(path, form)
        questions = self.questions()
        if not questions:
            raise DataError(f"no question is open in {self.layout.folder}; select asks some")
        write_questions(Path(path), questions, self.vocabulary, self.layout.images, form)
        return len(questions)

    def check_export(self, path: str | Path, form: str | None = None) -> None:
        """Check that `export` may write there; errors as `export`."""
        self.layout.require_pictures()
        refuse_answered(Path(path), self.vocabulary, self.layout.images, form)

    def export_answers(self, path: str | Path, form: str | None = None) -> int:
        """Write the current answers, and the skips, to a file or into class folders; returns how many.

        With each answer stands who gave it and when. `ingest` of the file into another project of the same pictures,
        with `allow_unasked`, gives the same answers, sources and skips. A file that holds nothing else is replaced.

        Raises:
            DataError: there are none, or the file holds something else.
            ConfigError: a format that does not fit the task.
        """
        answers = collected(self.ledger)
        if not answers:
            raise DataError(f"{self.layout.folder} has no answers yet")
        refuse_other_answers(Path(path), self.vocabulary, answers, form)
        write_answers(Path(path), answers, self.vocabulary, self.layout.images, form)
        return len(answers)

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
            source: who answered; if not given, as the file says for each answer, else the file's name.
            allow_unasked: take answers about pictures that were never asked.
            allow_changed: take answers about pictures that are gone, or have changed since they were asked.
            revise: take another answer than the known one as a correction.
            keep_good: leave out what cannot be taken in, and take in the rest.

        Raises:
            DataError: something cannot be taken in; every kind of trouble is listed, and nothing was written.
        """
        name = Path(answers).name if isinstance(answers, str | Path) else "python"
        answers = answers_in(answers, source, self.vocabulary, form)
        answers = placed(matched(answers, self.ledger), self.layout)
        allowed = Refusals(unasked=allow_unasked, changed=allow_changed, other=revise)
        digests = digests_of(answers, self.layout, self.ledger)
        with self.ledger.together():  # nobody else's answer comes between the check and the writing
            found = sorted_out(answers, digests, self.ledger, allowed)
            if found.trouble and not keep_good:
                raise DataError(
                    f"{found.told()}. Nothing was taken in; --keep_good takes in the {len(found.good)} good ones"
                )
            return record(self.ledger, found.good, source or name, digests, found.trouble_lines())

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
        checked = {i: self.vocabulary.checked(answer) for i, answer in answers.items()}
        for sample, answer in checked.items():
            require_inside(sample, answer, self.layout)
        self.ledger.revise_all(checked, source)

    def undo(self, ids: Sequence[SampleId] | None = None, source: str = "python") -> Sequence[Event]:
        """Take back the latest answer, correction, skip or retirement of these samples, or all answers, corrections,
        skips and retirements that the latest command wrote, by a new entry; returns what was taken back.

        A command is one call that wrote any of them: one `ingest` of a file, one `skip`, `revise` or `retire`, one
        pulled group of answers. Questions and added pictures stay.

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
        strange = sorted(set(ids) - self.ledger.added(ids))
        if strange:
            raise LedgerError(f"{len(strange)} samples are not in the project: {listed(strange)}")
        self.ledger.retire(ids, reason)


def _to_ask_about(images: Path, test: Path | None, vocabulary: Vocabulary) -> set[SampleId]:
    """The pictures below a folder, those left out that the file of test answers names."""
    found = found_below(images)
    if test is not None and test.is_file():
        found -= {given.sample for given in read_answers(test, vocabulary).given}
    return found
