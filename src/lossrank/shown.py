"""Single samples as a report shows them: answer, prediction and true loss of what was ranked first and last."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lossrank.collect import View
from lossrank.ledger import SampleId
from lossrank.pool import Pool

__all__ = ["shown"]


def shown(
    view: View, pool: Pool, answers: Mapping[SampleId, Any], ranking: Sequence[tuple[SampleId, float | None]]
) -> list[dict[str, Any]]:
    """`id`, `score`, `label`, `loss` and `prediction` of each sample of a ranking, as plain JSON, in its order.

    One small pass over these samples alone. Loss and prediction are None where a sample cannot be read.

    Args:
        view: the model that ranked them.
        pool: holds the samples.
        answers: of all of them.
        ranking: ids with the score that each was ranked by.
    """
    if not ranking:
        return []
    ids = [sample for sample, _ in ranking]
    answered = pool.answered({i: view.task.target(answers[i]) for i in ids})
    losses: dict[SampleId, float] = {}
    predictions: dict[SampleId, Any] = {}
    for batch, outputs in view.outputs(answered, ids):
        found = view.task.loss(outputs, view.runtime.tensor(batch.targets)).tolist()
        losses |= {i: loss for i, loss in zip(batch.ids, found, strict=True) if math.isfinite(loss)}
        predictions |= zip(batch.ids, view.task.predictions(outputs), strict=True)
    return [
        {"id": i, "score": score, "label": answers[i], "loss": losses.get(i), "prediction": predictions.get(i)}
        for i, score in ranking
    ]
