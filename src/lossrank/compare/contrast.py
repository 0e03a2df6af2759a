"""Two strategies by the seeds and numbers of labels that these two share, whatever a third one lacks.

A comparison of many strategies is cut to what all of them have. Where some were run with more seeds than others, that
leaves seeds out; a contrast keeps them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from lossrank.compare.arms import Comparison, comparison, is_full
from lossrank.compare.curves import area
from lossrank.report import Run, by_strategy
from lossrank.statistics import Paired, compared, holm

__all__ = ["Contrast", "Quantity", "contrast", "corrected"]

Quantity = Literal["metric", "spearman"]
"""The metric, over all rounds its area; or Spearman of score and true loss, over all rounds its mean."""
Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Contrast:
    """How much better the first is than the second; negative where it is worse, whichever way the metric points."""

    first: str
    second: str
    seeds: tuple[int, ...]
    budgets: tuple[int, ...]
    """Numbers of labels at which both were measured."""
    rounds: tuple[Paired, ...]
    """At each of them, without correction."""
    paired: Paired
    """Over all of them."""


def contrast(runs: Sequence[Run], first: str, second: str, quantity: Quantity = "metric") -> Contrast | None:
    """One strategy against another; None where one of them, a shared seed or the quantity is missing.

    Recipes may differ in any field: it is for the caller to say so.

    Raises:
        RunError: they share no number of labels, or a metric is not finite.
    """
    both = [run for run in runs if run.strategy in (first, second) and run.rows and not is_full(run)]
    seeds = [{run.seed for run in group} for group in by_strategy(both).values()]
    if len(seeds) < 2 or not set.intersection(*seeds):
        return None
    found = comparison(both, second, allow_different=True)
    curves = {name: _curves(found, name, quantity) for name in (first, second)}  # each [seeds, budgets]
    told = ~np.isnan(np.concatenate(list(curves.values()))).any(0)
    if not told.any():
        return None
    curves = {name: values[:, told] for name, values in curves.items()}
    budgets = tuple(np.array(found.budgets)[told].tolist())
    whole = {name: area(budgets, v) if quantity == "metric" else v.mean(1) for name, v in curves.items()}
    rounds = [_paired({name: v[:, place] for name, v in curves.items()}) for place in range(len(budgets))]
    return Contrast(first, second, found.seeds, budgets, tuple(rounds), _paired(whole))


def corrected(contrasts: Mapping[Name, Contrast]) -> dict[Name, Contrast]:
    """The same with Holm's correction over all of them."""
    adjusted = holm({name: one.paired.p for name, one in contrasts.items()})
    return {
        name: dataclasses.replace(one, paired=dataclasses.replace(one.paired, adjusted=adjusted[name]))
        for name, one in contrasts.items()
    }


def _curves(found: Comparison, name: str, quantity: Quantity) -> NDArray[np.float64]:
    """The quantity [seeds, budgets], higher is better; NaN where it is not told."""
    if quantity == "metric":
        return found.sign * found.values[name]
    return np.array(
        [[row.spearman for row in run.rows] for run in found.runs if run.strategy == name], dtype=np.float64
    )


def _paired(values: Mapping[str, NDArray[np.float64]]) -> Paired:
    """The first against the second, each [seeds]."""
    return next(iter(compared({name: of.tolist() for name, of in values.items()}).values()))
