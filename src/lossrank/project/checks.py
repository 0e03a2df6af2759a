"""What of a file of answers may be taken in, and what is wrong with the rest. Nothing here writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from lossrank.errors import listed
from lossrank.exchange import Answers, Given
from lossrank.ledger import Ledger, SampleId
from lossrank.project.layout import Layout
from lossrank.project.matching import climbs

__all__ = ["Refusals", "SortedOut", "sorted_out"]


@dataclass(frozen=True)
class Refusals:
    """What the caller allows that is otherwise refused."""

    unasked: bool = False
    changed: bool = False
    other: bool = False
    """Another answer than the known one, as a correction."""


@dataclass(frozen=True)
class SortedOut:
    """Answers that may be taken in, and trouble by kind."""

    good: list[Given] = field(default_factory=list)
    trouble: dict[str, list[str]] = field(default_factory=dict)

    def told(self) -> str:
        """All trouble in a line."""
        return "; ".join(f"{len(found)} {kind}: {listed(found)}" for kind, found in self.trouble.items())

    def trouble_lines(self) -> list[str]:
        """A line for each."""
        return [f"{kind}: {one}" for kind, found in self.trouble.items() for one in found]


def digests_of(answers: Answers, layout: Layout, ledger: Ledger) -> dict[SampleId, str]:
    """Digests of the pictures that are answered, as they are now. A picture that is gone has none.

    Raises:
        DataError: the pictures' folder is gone.
    """
    layout.require_pictures()
    return layout.digests(ledger.added({given.sample for given in answers.given}))


def sorted_out(answers: Answers, digests: Mapping[SampleId, str], ledger: Ledger, allowed: Refusals) -> SortedOut:
    """Look at every answer.

    Args:
        answers: with the project's own ids where they have one, see `matching.matched`.
        digests: of the pictures as they are now, see `digests_of`.
    """
    ids = {given.sample for given in answers.given}
    added, asked, retired = ledger.added(ids), ledger.asked(ids=ids), ledger.retired(ids)
    current, first = ledger.labelled(ids=ids), ledger.first_answers(ids)
    found = SortedOut(trouble={"could not be understood": list(answers.broken)} if answers.broken else {})
    one = _one_each(answers, found)
    moved = {i for i, digest in ledger.digests(ids).items() if digests.get(i) != digest}

    def other(given: Given) -> bool:
        return given.skipped is None and current.get(given.sample) not in (None, given.answer)

    def stale(given: Given) -> bool:  # an old file read again: its answer was corrected since
        return other(given) and first[given.sample] == given.answer and not allowed.other

    tests: tuple[tuple[str, Callable[[Given], bool]], ...] = (
        ("have ids that climb out of the folder", lambda g: g.sample not in added and climbs(g.sample)),
        ("have ids that the project does not know", lambda g: g.sample not in added),
        (
            "are about samples never asked (--allow_unasked takes them)",
            lambda g: g.sample not in asked and not allowed.unasked,
        ),
        (
            "are about samples never asked that were retired (lossrank undo PROJECT ID takes a retirement back)",
            lambda g: g.sample not in asked and g.sample in retired,
        ),
        (
            "are about pictures that are gone or changed since they were asked (--allow_changed takes them)",
            lambda g: g.sample in moved and not allowed.changed,
        ),
        (
            "differ from the known answer (--revise takes them as corrections)",
            lambda g: other(g) and not stale(g) and not allowed.other,
        ),
    )
    for given in one.values():
        if kind := next((kind for kind, wrong in tests if wrong(given)), None):
            found.trouble.setdefault(kind, []).append(f"{given.sample} ({given.where})")
        else:
            found.good.append(replace(given, answer=current[given.sample]) if stale(given) else given)
    return found


def _one_each(answers: Answers, found: SortedOut) -> dict[SampleId, Given]:
    """One answer for each sample; samples with two different ones are trouble."""
    one: dict[SampleId, Given] = {}
    twice: dict[SampleId, str] = {}
    for given in answers.given:
        sample, before = given.sample, one.setdefault(given.sample, given)
        if (before.answer, before.skipped is None) != (given.answer, given.skipped is None):
            twice[sample] = f"{sample} ({before.where}: {_words(before)}; {given.where}: {_words(given)})"
    if twice:
        found.trouble["have two different answers in one file"] = list(twice.values())
    return {sample: given for sample, given in one.items() if sample not in twice}


def _words(given: Given) -> str:
    return "skipped" if given.skipped is not None else repr(given.answer)
