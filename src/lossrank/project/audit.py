"""Audit questions: drawn at random from the whole pool, asked like any other, and never trained on.

The pool has one random order, that of a hash of the ids, and its first part is set aside before anyone is asked: no
strategy chooses from it, and each batch takes the next of it. So the audit answers are a simple random sample of the
whole pool, however much of the rest a strategy has taken. Pictures that are added later fall into it by the same rule.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from lossrank.datasets.base import hash_share
from lossrank.ledger import Ledger, SampleId
from lossrank.project.layout import Layout, digest_of
from lossrank.tasks.intervals import FEWEST

__all__ = ["AUDIT", "Audit", "audit_of", "exact_copies", "quota"]

AUDIT = "audit: drawn at random from the whole pool, never trained on"
"""The reason of an audit question in the ledger, by which it is known for good."""


@dataclass(frozen=True)
class Audit:
    """What is held out of training, and what is set aside for the audit questions to come."""

    layout: Layout
    asked: frozenset[SampleId]
    held_out: frozenset[SampleId]
    """Audit questions and the exact copies of their pictures."""
    reserve: tuple[SampleId, ...]
    """What is set aside and not asked, in its random order."""
    copies: tuple[SampleId, ...]
    """Exact copies of audit pictures that are not asked: nothing can be learned of them, and nothing measured."""

    def upcoming(self) -> Iterator[SampleId]:
        """The reserve, each picture once: of exact copies the first."""
        seen: set[str | None] = set()
        for sample in self.reserve:
            digest = digest_of(self.layout.images / sample)
            if digest is None or digest not in seen:  # what cannot be read is found out where it is read
                yield sample
            seen.add(digest)


def audit_of(layout: Layout, ledger: Ledger, pool: Collection[SampleId], share: float) -> Audit:
    """The audit of a project as it stands.

    What has an exact copy among the answers to train on is not set aside: a model that has learned a picture would be
    measured on it.

    Args:
        pool: the ids of the pool.
        share: of the pool that is set aside; 0 sets nothing aside, and leaves held out what was.
    """
    asked, audited = ledger.asked(), ledger.asked_because(AUDIT)
    held_out = audited | exact_copies(layout, audited, pool)
    closed = asked | ledger.retired().keys()
    order = sorted(pool, key=lambda sample: hash_share(f"audit: {sample}"))
    open_ids = [sample for sample in order if sample not in closed and sample not in held_out]
    first = set(order[: math.ceil(share * len(order))])
    least = min(FEWEST, len(order) // 4) - len(audited)  # of a small pool, so that there is an interval at all
    reserve = open_ids[: max(sum(sample in first for sample in open_ids), least)] if share else []
    learned = exact_copies(layout, asked - held_out, reserve)
    free = [sample for sample in reserve if sample not in learned]
    return Audit(layout, frozenset(audited), frozenset(held_out), tuple(free), tuple(sorted(held_out - closed)))


def quota(share: float, asked: int, wanted: int, started: bool) -> int:
    """How many of the next `wanted` questions are audit questions.

    Over many batches they are the share of all questions, whatever the size of each. The first batch with any has at
    least `FEWEST`, and at most half of it.

    Args:
        asked: questions so far.
        started: whether audit questions were asked before.
    """
    if not share:
        return 0
    count = _share_of(share, asked + wanted) - _share_of(share, asked)
    return min(count, wanted) if started else min(max(count, FEWEST), wanted // 2)


def _share_of(share: float, questions: int) -> int:
    return math.ceil(round(share * questions, 9))


def exact_copies(layout: Layout, samples: Collection[SampleId], among: Collection[SampleId]) -> set[SampleId]:
    """Those of `among` whose files are, byte for byte, files of `samples`. Files of other sizes are not read."""
    if not samples or not among:
        return set()
    sizes, others = _sizes(layout, samples), _sizes(layout, among)
    common = set(sizes.values()) & set(others.values())
    known = {digest_of(layout.images / sample) for sample, size in sizes.items() if size in common} - {None}
    return {i for i, size in others.items() if size in common and digest_of(layout.images / i) in known}


def _sizes(layout: Layout, samples: Collection[SampleId]) -> dict[SampleId, int]:
    """Bytes of the files that are there."""
    found = {}
    for sample in samples:
        try:
            found[sample] = (layout.images / sample).stat().st_size
        except OSError:
            continue
    return found
