"""At how many labels choosing begins to pay: a strategy against random, budget by budget."""

from __future__ import annotations

from collections.abc import Sequence

from evidence.sweeps import BASELINE, Sweep, table, told
from lossrank.compare import Contrast

SHOWN = ("entropy", "lossrank", "badge", "core-set")
"""What is hard, what is predicted to be lost most, what is hard and different, what is different."""
RULE = (
    f"Paired difference to {BASELINE} at one number of labels, positive where better, with its 95 % t interval, after "
    "the first choice and at the end. *Ahead from*: the number of labels from which on the mean is ahead to the end; "
    "*clearly*: the whole interval is. Not corrected for the number of comparisons."
)


def crossing_table(sweeps: Sequence[Sweep]) -> str:
    """A row for each task and strategy; empty where nothing was run beside random."""
    rows = [
        (sweep.short, name, str(len(one.seeds)), _at(one, 1), _at(one, -1), ahead(one))
        for sweep in sweeps
        for name, one in sweep.against_baseline().items()
        if name in SHOWN and len(one.budgets) > 2 and len(one.seeds) > 1
    ]
    columns = ("task", "strategy", "seeds", "after the first choice", "at the end", "ahead from")
    return table(columns, rows) if rows else ""


def ahead(one: Contrast) -> str:
    """From which number of labels on a strategy is ahead; the first one is of labels that all share."""
    by_mean = _from(one, [pair.difference > 0 for pair in one.rounds])
    clearly = _from(one, [pair.low > 0 for pair in one.rounds])
    if by_mean is None:
        return f"not by {one.budgets[-1]:,}"
    return f"{by_mean:,}" + ("" if clearly is None else f", clearly {clearly:,}")


def _from(one: Contrast, holds: Sequence[bool]) -> int | None:
    """The first number of labels from which on it holds to the end."""
    found = None
    for labels, held in list(zip(one.budgets, holds, strict=True))[:0:-1]:
        if not held:
            break
        found = labels
    return found


def _at(one: Contrast, place: int) -> str:
    return f"{one.budgets[place]:,}: {told(one.rounds[place], 1)}"
