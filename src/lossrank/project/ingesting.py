"""Take in answers and skips: read them, and write those that were found good. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lossrank.errors import DataError
from lossrank.exchange import Answers, Given, Vocabulary, read_answers
from lossrank.ledger import Ledger, SampleId

__all__ = ["Ingested", "answers_in", "record"]

UNASKED = "answered unasked, in"
"""Begins the reason of a question that was asked because its answer came."""


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


def answers_in(
    answers: str | Path | Mapping[SampleId, Any] | Answers, source: str | None, vocabulary: Vocabulary, form: str | None
) -> Answers:
    """The answers that a file, class folders or a mapping holds; arguments and errors as of `Project.ingest`."""
    if isinstance(answers, str | Path):
        answers = read_answers(Path(answers), vocabulary, form)
    elif isinstance(answers, Mapping):
        answers = _from_mapping(answers, vocabulary)
    if source is not None:
        answers = replace(answers, given=[replace(given, source=source) for given in answers.given])
    return answers


def record(
    ledger: Ledger, good: Sequence[Given], source: str, digests: Mapping[SampleId, str], left_out: list[str]
) -> Ingested:
    """Write checked answers and skips into the ledger; what nobody had asked is asked first.

    Args:
        source: who answered, where an answer does not say.
        digests: of the pictures as they are now.
        left_out: what was not taken in, for the result.
    """
    ids = [given.sample for given in good]
    answers = {given.sample: given.answer for given in good if given.skipped is None}
    asked, current = ledger.asked(ids=ids), ledger.labelled(ids=ids)
    unasked = [(sample, None) for sample in ids if sample not in asked]
    if unasked:
        ledger.ask(None, unasked, f"{UNASKED} {source}", {i: digests[i] for i, _ in unasked if i in digests})
    new = {i: answer for i, answer in answers.items() if i not in current}
    corrected = {i: answer for i, answer in answers.items() if i in current and current[i] != answer}
    sources = {given.sample: given.source or source for given in good}
    for who in dict.fromkeys(sources.values()):
        ledger.answer({i: answer for i, answer in new.items() if sources[i] == who}, who)
        ledger.revise_all({i: answer for i, answer in corrected.items() if sources[i] == who}, who)
    known = ledger.skipped(ids)
    skips = {g.sample: g.skipped for g in good if g.skipped and g.sample not in current}
    ledger.skip_each({i: why for i, why in skips.items() if known.get(i) != why})
    same = len(answers) - len(new) - len(corrected)
    return Ingested(len(new), same, len(corrected), len(skips), len(unasked), left_out)


def _from_mapping(answers: Mapping[SampleId, Any], vocabulary: Vocabulary) -> Answers:
    """A mapping of id to answer, as a reader of a file gives it."""
    found = Answers()
    for sample, answer in answers.items():
        try:
            found.given.append(Given(sample, vocabulary.checked(answer), "the mapping"))
        except DataError as error:
            found.broken.append(f"{sample}: {error}")
    return found
