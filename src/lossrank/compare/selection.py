"""The metric of fresh models that were trained on what a strategy chose, in place of its own model's."""

from __future__ import annotations

import dataclasses
from shlex import quote

from lossrank.errors import RunError
from lossrank.parsing import MALFORMED, read_rows
from lossrank.report import Run
from lossrank.retrain import SELECTION

__all__ = ["retrained"]


def retrained(run: Run) -> Run:
    """The run with the metric and test loss of its fresh models; rounds without one are left out.

    Raises:
        RunError: no fresh model was trained, or a line is damaged.
    """
    path = run.folder / SELECTION
    if not path.is_file():
        raise RunError(
            f"{run.folder} has no {SELECTION}: `lossrank retrain {quote(str(run.folder))}` trains fresh models"
        )
    try:
        found = {row["round"]: row for row in read_rows(path)}
        rows = tuple(
            dataclasses.replace(
                row, value=float(found[row.round]["metric"]["value"]), test_loss=found[row.round]["test_loss"]
            )
            for row in run.rows
            if row.round in found
        )
    except MALFORMED as error:
        raise RunError(
            f"{path} is damaged: {error}; remove it and run `lossrank retrain {quote(str(run.folder))}`"
        ) from None
    return dataclasses.replace(run, rows=rows)
