"""The ledger: what was asked and what was answered. Append-only, and the only memory of a choice.

One table of events, in SQLite with a write-ahead log and full synchronisation: what a call has returned from is on
disk. Events are never changed or deleted (triggers refuse it); the present state is derived from them. What was done
by mistake is taken back by an `undo`, an event of its own that names what it takes back.

A *command* is one outermost call that writes: one `answer`, or several calls within `together`. Its events have
consecutive numbers and one time, which no neighbouring command shares.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lossrank.errors import LedgerError, listed
from lossrank.ledger_events import Choice, Correction, Event, Kind, SampleId
from lossrank.ledger_file import open_file
from lossrank.ledger_format import UNDOABLE
from lossrank.ledger_history import Undone
from lossrank.ledger_queries import MARKS
from lossrank.ledger_writer import LedgerWriter
from lossrank.requirements import require_choices, require_strings

__all__ = ["Choice", "Correction", "Event", "Kind", "Ledger", "SampleId"]


class Ledger(LedgerWriter):
    """Questions and answers of one run or project. Every method that writes is one transaction."""

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Ledger:
        """Open the ledger at `path`, and check that it is as it was written.

        Where its folder cannot be written, it is opened to be read.

        Args:
            create: begin one where there is none.

        Raises:
            LedgerError: the file is missing, damaged, no ledger, of a newer version, or cannot be opened.
        """
        if not create and not (path.exists() and path.stat().st_size):
            raise LedgerError(
                f"{path} is {'empty' if path.exists() else 'missing'}: it holds the questions and answers, and no new "
                f"one is made in its place. Bring it back from a copy, or, of a project that was never used, run init "
                "again"
            )
        return cls(open_file(path), path)

    def together(self) -> AbstractContextManager[None]:
        """Several calls as one command: all of them are kept, or none."""
        return self._writing()

    def add(self, ids: Iterable[SampleId], source: str) -> int:
        """Note samples that may be asked about from now on; returns how many of them are new."""
        ids = require_strings("ids", ids)
        with self._writing():
            wanted = set(ids)
            new = sorted(wanted - self.added(wanted))
            self._append(("add", sample, None, None, None, None, source) for sample in new)
        return len(new)

    def ask(
        self,
        batch: int | None,
        choices: Sequence[tuple[SampleId, float | None]],
        reason: str,
        digests: Mapping[SampleId, str] | None = None,
        reasons: Mapping[SampleId, str] | None = None,
    ) -> int:
        """Write a batch of questions down, before anyone is asked. Repeated word for word, it changes nothing.

        Args:
            batch: its number, which is returned; None: the next one.
            digests: of what is asked about, so that a change of it is noticed when the answer comes.
            reasons: of samples that are asked for a reason of their own.

        Raises:
            LedgerError: the batch holds other questions already, or a sample was asked in another batch.
        """
        choices = require_choices(choices)
        ids = [sample for sample, _ in choices]
        if len(set(ids)) != len(ids):
            twice = sorted(sample for sample, count in Counter(ids).items() if count > 1)
            raise LedgerError(f"batch {batch} asks twice: {listed(twice)}")
        words = {sample: json.dumps(digest) for sample, digest in (digests or {}).items()}
        with self._writing():
            batch = self.batches() if batch is None else batch
            known = [choice.sample for choice in self.batch(batch)]
            if known:
                if known != ids:
                    raise LedgerError(f"batch {batch} was written down with other samples: {listed(known)}")
                return batch
            self._refuse(self.asked(ids=ids), "were asked in an earlier batch")
            self._refuse(self.retired(ids), "were retired")
            self._append(
                ("ask", sample, batch, rank, score, words.get(sample), (reasons or {}).get(sample, reason))
                for rank, (sample, score) in enumerate(choices)
            )
        return batch

    def answer(self, answers: Mapping[SampleId, Any], source: str) -> None:
        """Take in answers, plain JSON each. The same answer again changes nothing.

        Raises:
            LedgerError: a sample was never asked, or has another answer already (`revise` corrects one).
        """
        with self._writing():
            asked, known = self.asked(ids=answers), self.first_answers(answers)
            unasked = sorted(answers.keys() - asked)
            if unasked:
                raise LedgerError(f"{len(unasked)} answers are for samples never asked: {listed(unasked)}")
            other = sorted(i for i, value in answers.items() if i in known and known[i] != value)
            if other:
                raise LedgerError(
                    f"{len(other)} samples have another answer already: {listed(other)}; revise corrects one"
                )
            new = {sample: value for sample, value in answers.items() if sample not in known}
            self._append(
                ("answer", sample, None, None, None, json.dumps(value), source) for sample, value in new.items()
            )

    def revise(self, sample: SampleId, value: Any, source: str) -> None:
        """Correct an answer; both stay in the history.

        Raises:
            LedgerError: the sample has no answer yet.
        """
        self.revise_all({sample: value}, source)

    def revise_all(self, answers: Mapping[SampleId, Any], source: str) -> None:
        """Correct answers, all of them or none; errors as `revise`. What is the current answer already changes nothing.

        Raises:
            LedgerError: samples that have no answer yet.
        """
        with self._writing():
            current = self.labelled(ids=answers)
            unknown = sorted(answers.keys() - current.keys())
            if unknown:
                what = f"sample {unknown[0]!r} has" if len(unknown) == 1 else f"{len(unknown)} samples have"
                more = "" if len(unknown) == 1 else f": {listed(unknown)}"
                raise LedgerError(f"{what} no answer to revise{more}")
            self._append(
                ("revise", sample, None, None, None, json.dumps(value), source)
                for sample, value in answers.items()
                if current[sample] != value
            )

    def undo(self, ids: Sequence[SampleId] | None, source: str) -> Sequence[Event]:
        """Take back the latest answer, correction, skip or retirement of each sample, by a new entry; returns them.

        Args:
            ids: of which samples; None: all answers, corrections, skips and retirements of the latest command that
                wrote any, a file of answers for instance. Questions and added samples stay.

        Raises:
            LedgerError: a sample has nothing that could be taken back.
        """
        ids = None if ids is None else require_strings("ids", ids)
        with self._writing():
            return self._undo_command(source) if ids is None else self._undo_each(dict.fromkeys(ids), source)

    def _undo_command(self, source: str) -> Sequence[Event]:
        latest = "ORDER BY number DESC LIMIT 1"
        last = self._rows(f"SELECT number, time FROM live WHERE +kind IN ({MARKS}) {latest}", *UNDOABLE)
        if not last:
            raise LedgerError(f"{self.path} holds nothing to take back")
        number, time = last[0]
        before = self._rows(f"SELECT number FROM event WHERE number < ? AND time <> ? {latest}", number, time)
        first = before[0][0] + 1 if before else 1
        undo = self._next_number()
        self._insert([(undo, self._now, "undo", "", None, None, None, None, first, number, source)])
        return Undone(self, first, number, undo)

    def _undo_each(self, ids: Mapping[SampleId, None], source: str) -> list[Event]:
        numbers = dict(
            self._rows(
                f"SELECT sample, MAX(number) FROM live WHERE kind IN ({MARKS}){self._among(ids)} GROUP BY sample",
                *UNDOABLE,
            )
        )
        if missing := [sample for sample in ids if sample not in numbers]:
            raise LedgerError(
                f"sample {missing[0]!r} has no answer, correction, skip or retirement to take back"
                + (f"; nor have {len(missing) - 1} others" if len(missing) > 1 else "")
            )
        found = {e.sample: e for e in self._numbered(numbers.values())}
        undo = self._next_number()
        self._insert(
            (undo + row, self._now, "undo", sample, None, None, None, None, numbers[sample], None, source)
            for row, sample in enumerate(ids)
        )
        return [found[sample] for sample in ids]

    def skip(self, ids: Sequence[SampleId], reason: str) -> None:
        """Note that a labeller would not or could not answer. An answer may still come.

        Raises:
            LedgerError: a sample was never asked.
        """
        self.skip_each(dict.fromkeys(require_strings("ids", ids), reason))

    def skip_each(self, reasons: Mapping[SampleId, str]) -> None:
        """As `skip`, each sample with a reason of its own."""
        with self._writing():
            if unasked := sorted(reasons.keys() - self.asked(ids=reasons)):
                raise LedgerError(f"{len(unasked)} samples were never asked and cannot be skipped: {listed(unasked)}")
            self._append(("skip", sample, None, None, None, None, reason) for sample, reason in reasons.items())

    def retire(self, ids: Sequence[SampleId], reason: str) -> None:
        """Take samples out of the pool for good: they are never asked again."""
        ids = require_strings("ids", ids)
        with self._writing():
            retired = self.retired(ids)
            new = dict.fromkeys(sample for sample in ids if sample not in retired)
            self._append(("retire", sample, None, None, None, None, reason) for sample in new)

    def _refuse(self, found: Iterable[SampleId], what: str) -> None:
        if names := sorted(found):
            raise LedgerError(f"{len(names)} samples {what}: {listed(names)}")
