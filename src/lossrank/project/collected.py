"""The answers and skips that a ledger holds, for a file: what counts now, who gave it and when."""

from __future__ import annotations

from pathlib import Path

from lossrank.errors import DataError, LossrankError
from lossrank.exchange import Given, Vocabulary, format_of, read_answers
from lossrank.ledger import Ledger
from lossrank.outputs import free_name

__all__ = ["collected", "refuse_other_answers"]

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


def refuse_other_answers(path: Path, vocabulary: Vocabulary, answers: list[Given], form: str | None) -> None:
    """Refuse to replace a file that holds anything but these answers.

    Raises:
        DataError: it does, or is no file of answers.
        ConfigError: a format that does not fit the task.
    """
    form = format_of(path, vocabulary, form)
    empty = not any(path.iterdir()) if path.is_dir() else not path.exists() or not path.stat().st_size
    if empty:
        return
    instead = f"write to another one, {free_name(path)} for instance"
    if path.is_dir():
        raise DataError(f"the folder {path} is not empty; {instead}")
    known = {(given.sample, repr(given.answer), given.skipped) for given in answers}
    try:
        old = read_answers(path, vocabulary, form)
    except LossrankError as error:
        raise DataError(f"{path} exists and is no file of answers ({error}); {instead}") from None
    other = [g.sample for g in old.given if (g.sample, repr(g.answer), g.skipped) not in known]
    if other or old.broken or not old.given:
        raise DataError(f"{path} exists and holds something else than the collected answers; {instead}")
