"""The answers and skips that a ledger holds, for a file: what counts now, who gave it and when."""

from __future__ import annotations

from lossrank.exchange import Given
from lossrank.ledger import Ledger

__all__ = ["collected"]

WHERE = "the ledger"


def collected(ledger: Ledger) -> list[Given]:
    """Current answers in the order in which they were asked, then skips that nobody answered since.

    Of a corrected answer the correction counts, with its source and time. A ledger keeps the reason of a skip and not
    who skipped.
    """
    answers = [Given(sample, answer, WHERE, None, source, time) for sample, answer, source, time in ledger.answered()]
    times = ledger.skip_times()
    return answers + [
        Given(sample, None, WHERE, reason, None, times[sample]) for sample, reason in ledger.skipped().items()
    ]
