"""Joints and points lie within their picture: an answer from a picture of another size is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lossrank.errors import DataError
from lossrank.exchange import Answers
from lossrank.ledger import SampleId
from lossrank.project.layout import Layout

__all__ = ["placed", "require_inside"]

BORDER = 1.0  # pixels beyond the outermost ones: tools round, and some count from 1


def placed(answers: Answers, layout: Layout) -> Answers:
    """The answers, those with a joint or point outside of its picture among the broken."""
    if layout.vocabulary.task not in ("pose", "counting"):
        return answers
    result = Answers(broken=list(answers.broken))
    for given in answers.given:
        try:
            if given.skipped is None:
                require_inside(given.sample, given.answer, layout)
        except DataError as error:
            result.broken.append(f"{given.where}: {given.sample}: {error}")
        else:
            result.given.append(given)
    return result


def require_inside(sample: SampleId, answer: Sequence[Any], layout: Layout) -> None:
    """Check the places of a pose or of counted points; what is not seen may be anywhere.

    Raises:
        DataError: one is outside of the picture.
    """
    task = layout.vocabulary.task
    places = [row[:2] for row in answer if task == "counting" or row[2]] if task in ("pose", "counting") else []
    if not places:
        return
    from lossrank.decoding import UnreadableSample, upright_size  # NumPy and Pillow: --help needs none

    try:
        width, height = upright_size(layout.images / sample)
    except UnreadableSample:  # gone or damaged: its digest says so
        return
    for x, y in places:
        if not (-BORDER <= x <= width - 1 + BORDER and -BORDER <= y <= height - 1 + BORDER):
            raise DataError(f"x {x:g}, y {y:g} is outside of its picture of {width} x {height} pixels")
