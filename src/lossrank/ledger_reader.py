"""Reading a ledger: the present state, derived from its events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from lossrank.ledger_events import Choice, Kind, SampleId
from lossrank.ledger_format import UNDOABLE
from lossrank.ledger_history import LedgerHistory
from lossrank.ledger_queries import MARKS

__all__ = ["LedgerReader"]


class LedgerReader(LedgerHistory):
    """The questions and answers of a run or project, to be read. Methods that take `ids` read those samples alone."""

    def batch(self, batch: int) -> tuple[Choice, ...]:
        """The questions of a batch, the one to answer first in front; empty if it was never asked."""
        rows = self._rows("SELECT sample, score, rank FROM event WHERE kind = 'ask' AND batch = ? ORDER BY rank", batch)
        return tuple(Choice(*row) for row in rows)

    def labelled(self, up_to_batch: int | None = None, *, ids: Iterable[SampleId] | None = None) -> dict[SampleId, Any]:
        """Current answers, in the order in which they were asked; those of later batches left out."""
        among = self._among(ids)
        live = self._live(ids)
        current = self._dict(f"SELECT sample, value FROM {live} WHERE kind = 'answer'{among}")
        current |= self._dict(f"SELECT sample, value FROM {live} WHERE kind = 'revise'{among} ORDER BY number")
        asked = (
            f"SELECT sample FROM event WHERE kind = 'ask' AND (?1 IS NULL OR batch <= ?1){among} ORDER BY batch, rank"
        )
        decode = self._decoder()
        with self._reading():
            samples = self._connection.execute(asked, (up_to_batch,))
            return {sample: decode(current[sample]) for (sample,) in samples if sample in current}

    def answered(self) -> Iterator[tuple[SampleId, Any, str, str]]:
        """Current answers as `labelled` has them, each with who gave it and when: sample, answer, source, time."""
        query = f"SELECT sample, value, source, time FROM {self._live()} WHERE kind = ?"
        current = {row[0]: row for row in self._stream(query, "answer")}
        current.update((row[0], row) for row in self._stream(f"{query} ORDER BY number", "revise"))
        decode = self._decoder()
        for (asked,) in self._stream("SELECT sample FROM event WHERE kind = 'ask' ORDER BY batch, rank"):
            if asked in current:
                sample, value, source, time = current[asked]
                yield sample, decode(value), source, time

    def batches(self) -> int:
        """How many batches were asked; the next one has this number."""
        ((last,),) = self._rows("SELECT MAX(batch) FROM event WHERE kind = 'ask'")
        return 0 if last is None else int(last) + 1

    def added(self, ids: Iterable[SampleId] | None = None) -> set[SampleId]:
        """Every sample that `add` noted."""
        return self._samples(f"SELECT sample FROM event WHERE kind = 'add'{self._among(ids)}")

    def digests(self, ids: Iterable[SampleId] | None = None) -> dict[SampleId, str]:
        """The digest of each sample that was asked with one."""
        return {sample: digest for sample, digest in self._values("ask", ids).items() if digest is not None}

    def counts(self) -> dict[str, int]:
        """The number of samples with an event of each kind; what was taken back is left out."""
        found = {}
        for kind in ("add", "ask", *UNDOABLE):
            rows = "event" if kind in ("add", "ask") else self._live()  # the first two are never taken back
            samples = "DISTINCT sample" if kind in ("revise", "skip") else "*"  # a sample has at most one of the others
            found[kind] = self._count(f"SELECT COUNT({samples}) FROM {rows} WHERE kind = ?", kind)
        return {kind: count for kind, count in found.items() if count}

    def first_answers(self, ids: Iterable[SampleId] | None = None) -> dict[SampleId, Any]:
        """Answers as they were first given, before any correction."""
        return self._values("answer", ids)

    def asked(self, up_to_batch: int | None = None, *, ids: Iterable[SampleId] | None = None) -> set[SampleId]:
        """Every sample asked, answered or not; those of later batches left out."""
        return self._samples(
            f"SELECT sample FROM event WHERE kind = 'ask' AND (?1 IS NULL OR batch <= ?1){self._among(ids)}",
            up_to_batch,
        )

    def reasons(self, ids: Iterable[SampleId]) -> dict[SampleId, str]:
        """Why each sample was asked; those never asked are left out."""
        return self._dict(f"SELECT sample, source FROM event WHERE kind = 'ask'{self._among(ids)}")

    def asked_because(self, reason: str) -> set[SampleId]:
        """Every sample that was asked for this reason."""
        return self._samples("SELECT sample FROM event WHERE kind = 'ask' AND source = ?", reason)

    def scored(self) -> set[SampleId]:
        """Every sample that was asked for its score; the others were drawn or spread, whatever their loss."""
        return self._samples("SELECT sample FROM event WHERE kind = 'ask' AND score IS NOT NULL")

    def open_questions(self) -> tuple[SampleId, ...]:
        """Asked, and neither answered nor skipped nor retired since; in the order in which they were asked."""
        if not self.count_open():
            return ()
        rows = self._rows(
            f"""SELECT sample FROM event WHERE kind = 'ask' AND sample NOT IN (
                SELECT sample FROM {self._live()} WHERE kind IN ('answer', 'skip', 'retire')
            ) ORDER BY batch, rank"""
        )
        return tuple(sample for (sample,) in rows)

    def count_open(self) -> int:
        """The number of open questions."""
        asked, answered = (
            self._count(f"SELECT COUNT(*) FROM {rows} WHERE kind = ?", kind)
            for rows, kind in (("event", "ask"), (self._live(), "answer"))
        )
        return (
            asked
            - answered
            - self._count(
                f"""SELECT COUNT(DISTINCT sample) FROM {self._live()} AS one WHERE kind IN ('skip', 'retire')
                AND EXISTS (SELECT 1 FROM event WHERE kind = 'ask' AND sample = one.sample)
                AND NOT EXISTS (SELECT 1 FROM live WHERE kind = 'answer' AND sample = one.sample)"""
            )
        )

    def skipped(self, ids: Iterable[SampleId] | None = None) -> dict[SampleId, str]:
        """Skipped and not answered since, with the reason."""
        reasons = self._sources("skip", ids)
        answered = self._samples(f"SELECT sample FROM live WHERE kind = 'answer'{self._among(reasons)}")
        return {sample: why for sample, why in reasons.items() if sample not in answered}

    def retired(self, ids: Iterable[SampleId] | None = None) -> dict[SampleId, str]:
        """Retired samples with the reason."""
        return self._sources("retire", ids)

    def latest_kinds(self, ids: Iterable[SampleId]) -> dict[SampleId, Kind]:
        """Of each sample the kind of event that `undo` would take back; those that have none are left out."""
        among = self._among(ids)
        rows = self._rows(
            f"SELECT sample, kind, MAX(number) FROM live WHERE kind IN ({MARKS}){among} GROUP BY sample", *UNDOABLE
        )
        return {sample: kind for sample, kind, _ in rows}

    def skip_times(self) -> dict[SampleId, str]:
        """When each sample was skipped last; skips that were taken back left out."""
        return self._dict(f"SELECT sample, time FROM {self._live()} WHERE kind = 'skip' ORDER BY number")

    def _values(self, kind: Kind, ids: Iterable[SampleId] | None = None) -> dict[SampleId, Any]:
        among, live = self._among(ids), "event" if kind == "ask" else self._live(ids)
        rows = self._stream(f"SELECT sample, value FROM {live} WHERE kind = ? AND value IS NOT NULL{among}", kind)
        decode = self._decoder()
        return {sample: decode(value) for sample, value in rows}

    def _sources(self, kind: Kind, ids: Iterable[SampleId] | None = None) -> dict[SampleId, str]:
        among, live = self._among(ids), self._live(ids)
        return self._dict(f"SELECT sample, source FROM {live} WHERE kind = ?{among} ORDER BY number", kind)
