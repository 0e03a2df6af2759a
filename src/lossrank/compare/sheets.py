"""The tables of a comparison: titled rows of plain values, written in full as CSV and readably elsewhere."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossrank.compare.arms import Comparison
from lossrank.compare.curves import area, labels_saved
from lossrank.report import Row, by_strategy
from lossrank.statistics import Paired, bootstrap_weights, compared, holm, percentiles

__all__ = ["Sheet", "all_sheets", "pairs", "text", "verdict"]

TEST = (
    "p: paired t-test over seeds; adjusted: Holm's correction over all pairs; a difference is claimed where that is "
    "at most 0.05. sign-flip p: exact, for comparison; with n seeds it is never below 2 ** (1 - n)."
)


@dataclass(frozen=True)
class Sheet:
    """One table."""

    name: str
    """Of its file."""
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    """Texts, numbers, or None where there is nothing to say."""
    caption: str = ""


def all_sheets(found: Comparison, target: float | None = None) -> list[Sheet]:
    """Every table there is something to say in.

    Args:
        target: a value of the metric, in the unit it is shown in, for labels needed; None: what the baseline reaches.
    """
    sheets = [_curves(found), _summary(found, target), _pairs(found), _matrix(found), _ranking(found)]
    return [sheet for sheet in [*sheets, _cost(found), _chosen(found)] if sheet.rows]


def pairs(found: Comparison) -> dict[tuple[str, str], Paired]:
    """Every pair of strategies by the area under the curve: the one test that the verdict rests on."""
    return compared({name: area(found.budgets, values).tolist() for name, values in found.values.items()})


def verdict(found: Comparison) -> list[str]:
    """What the seeds allow to say, a sentence for each strategy against the baseline, and no more."""
    if len(found.seeds) < 2:
        return ["From one seed no difference can be claimed."]
    tests = pairs(found)
    if found.baseline is None:
        told = [_told(found, a, b, pair) for (a, b), pair in tests.items()]
    else:
        told = [
            _told(found, *(names if names[1] == found.baseline else names[::-1]), pair)
            for names, pair in tests.items()
            if found.baseline in names
        ]
    return told or ["One strategy: there is nothing to compare it with."]


def text(value: Any) -> str:
    """A cell as a person reads it: four digits, `-` for nothing, `not reached` for infinite labels."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return "not reached" if math.isinf(value) else f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def _told(found: Comparison, first: str, second: str, pair: Paired) -> str:
    areas = {name: float(area(found.budgets, found.values[name]).mean()) for name in (first, second)}
    size = found.sign * (areas[first] - areas[second])
    if not pair.told_apart:
        return f"{first} and {second} are not distinguishable (p {pair.adjusted:.2g} after Holm)."
    word = "better" if size > 0 else "worse"
    half = (pair.high - pair.low) / 2
    unit = found.metric.unit
    return (
        f"{first} is {word} than {second}: {found.metric.name} {abs(size):.3g} ± {half:.2g}"
        f"{' ' + unit if unit else ''} on average over the budget (p {pair.adjusted:.2g} after Holm)."
    )


def _curves(found: Comparison) -> Sheet:
    weights = bootstrap_weights(len(found.seeds))
    rows = []
    for name, values in found.values.items():
        for place, labelled in enumerate(found.budgets):
            low, high = percentiles(weights @ values[:, place]) if len(values) > 1 else (None, None)
            rows.append((name, labelled, len(values), float(values[:, place].mean()), low, high))
    columns = ("strategy", "labels", "seeds", found.metric.title, "low", "high")
    caption = "low, high: 95 % bootstrap interval of the mean over seeds; with few seeds it is too narrow."
    return Sheet("curves", "Learning curves", columns, tuple(rows), caption)


def _summary(found: Comparison, target: float | None) -> Sheet:
    base = None if found.baseline is None else found.values[found.baseline]
    goal = None if target is None else found.sign * target
    weights = bootstrap_weights(len(found.seeds))
    rows = []
    for name, values in found.values.items():
        areas = area(found.budgets, values)
        low, high = percentiles(weights @ areas) if len(areas) > 1 else (None, None)
        row = [name, float(areas.mean()), low, high, float(values[:, -1].mean())]
        saved = None if base is None else labels_saved(found.budgets, found.sign * values, found.sign * base, goal)
        row += [None] * 4 if saved is None else [saved.needed, saved.saved, saved.low, saved.high]
        rows.append(tuple(row))
    figures = ("mean over the budget", "low", "high", f"at {found.budgets[-1]} labels")
    columns = ("strategy", *figures, "labels to target", "labels saved", "saved, low", "saved, high")
    aim = f"{target:g}" if target is not None else f"what {found.baseline} reaches at {found.budgets[-1]} labels"
    caption = f"{found.metric.title}. Mean over the budget: area under the curve over its range. "
    caption += "Intervals: 95 % bootstrap over seeds."
    if base is not None:
        caption += f" Target: {aim}. Labels saved: against {found.baseline}, on mean curves."
    return Sheet("summary", "Summary", columns, tuple(rows), caption)


def _pairs(found: Comparison) -> Sheet:
    if len(found.seeds) < 2:
        return Sheet("pairs", "", (), ())
    final = compared({name: values[:, -1].tolist() for name, values in found.values.items()})
    rows = []
    for what, tests in (("over the budget", pairs(found)), (f"at {found.budgets[-1]} labels", final)):
        for (a, b), pair in tests.items():
            better = a if found.sign * pair.difference > 0 else b
            told = f"{better} is better" if pair.told_apart else "not distinguishable"
            row = (what, a, b, pair.difference, pair.low, pair.high, pair.p, pair.adjusted, pair.sign_flip, told)
            rows.append(row)
    columns = ("where", "first", "second", "difference", "low", "high", "p", "adjusted p", "sign-flip p", "verdict")
    caption = f"Difference: first minus second, {found.metric.title}, with its 95 % t interval. {TEST}"
    return Sheet("pairs", "Each against each", columns, tuple(rows), caption)


def _matrix(found: Comparison) -> Sheet:
    """Win/tie/loss over the budgets after the first, whose labels are the same for all."""
    budgets = range(1, len(found.budgets))
    if len(found.seeds) < 2 or len(found.values) < 2 or not budgets:
        return Sheet("matrix", "", (), ())
    tests = {}
    for place in budgets:
        for names, pair in compared({n: v[:, place].tolist() for n, v in found.values.items()}).items():
            tests[*names, place] = pair
    adjusted = holm({key: pair.p for key, pair in tests.items()})
    tally: dict[tuple[str, str], list[int]] = {(a, b): [0, 0, 0] for a in found.values for b in found.values}
    for (a, b, place), pair in tests.items():
        lead = 0 if adjusted[a, b, place] > 0.05 else (1 if found.sign * pair.difference > 0 else -1)
        tally[a, b][1 - lead] += 1
        tally[b, a][1 + lead] += 1
    rows = tuple(
        (a, *("/".join(map(str, tally[a, b])) if a != b else None for b in found.values)) for a in found.values
    )
    caption = "Win/tie/loss of the row's strategy over the numbers of labels after the first: paired t-tests, Holm's "
    caption += "correction over all pairs and numbers of labels at once."
    return Sheet("matrix", "Win, tie, loss", ("strategy", *found.values), rows, caption)


def _ranking(found: Comparison) -> Sheet:
    rows = []
    for name, group in by_strategy(found.runs).items():
        for place, labelled in enumerate(found.budgets):
            at = [run.rows[place] for run in group]
            quality = (_mean(at, lambda row: row.spearman), _mean(at, lambda row: row.top10_recall))
            if quality != (None, None):
                rows.append((name, labelled, *quality, *_best_by_hand(at)))
    columns = ("strategy", "labels", "Spearman", "top-10 % recall", "best by hand", "its Spearman")
    caption = (
        "Of the strategy's score and the true loss on the test set, means over seeds; strategies with a score. By "
        "hand: what the same model's outputs say without learning, the column that ranks best."
    )
    return Sheet("ranking", "Ranking of the true loss", columns, tuple(rows), caption)


def _best_by_hand(at: Sequence[Row]) -> tuple[str | None, float | None]:
    """The column made by hand that ranks best in these rows on average, with its Spearman; None where none is told."""
    names = set.intersection(*(set(row.by_hand) for row in at))
    means = {name: statistics.fmean(row.by_hand[name] for row in at) for name in names}
    best = max(means, key=lambda name: (means[name], name), default=None)
    return best, None if best is None else means[best]


def _cost(found: Comparison) -> Sheet:
    rows = []
    for name, group in by_strategy(found.runs).items():
        at = [row for run in group for row in run.rows]
        chose = [row for row in at if "select" in row.seconds]
        peak = max((row.peak_memory_mb for row in at if row.peak_memory_mb is not None), default=None)
        seconds = [_mean(chose, lambda row: row.seconds["select"]), _mean(at, lambda row: row.seconds.get("train"))]
        grown = max((row.memory_mb["select"] for row in at if "select" in row.memory_mb), default=None)
        rows.append((name, *seconds, grown, peak))
    columns = ("strategy", "selection (s)", "training (s)", "selection (MB)", "peak memory (MB)")
    caption = (
        "Seconds: mean of a round. Selection (MB): the most that resident memory grew while choosing. Peak memory: the "
        "highest of the process, which a sweep shares among runs."
    )
    return Sheet("cost", "Cost", columns, tuple(rows), caption)


def _chosen(found: Comparison) -> Sheet:
    rows = []
    for name, group in by_strategy(found.runs).items():
        at = [row for run in group for row in run.rows]
        counts: Counter[str] = Counter()
        for row in at:
            counts.update(row.class_histogram)
        copies = _mean(at, lambda row: None if row.near_duplicates is None else 100 * row.near_duplicates)
        if counts or copies is not None:
            rows.append((name, sum(counts.values()), *_balance(counts), copies))
    columns = ("strategy", "samples", "classes", "even classes", "largest / smallest", "near-duplicates (%)")
    caption = "Even classes: exp of the entropy of the classes asked for, as many even classes would have it. "
    caption += "Near-duplicates: share of a round's samples that look like another of the same round."
    return Sheet("chosen", "What was asked for", columns, tuple(rows), caption)


def _balance(counts: Mapping[str, int]) -> tuple[int | None, float | None, float | None]:
    if not counts:
        return None, None, None
    share = np.array(list(counts.values())) / sum(counts.values())
    even = float(np.exp(-(share * np.log(share)).sum()))
    return len(counts), even, float(share.max() / share.min())


def _mean(rows: Sequence[Row], value: Callable[[Row], float | None]) -> float | None:
    found = [number for number in map(value, rows) if number is not None]
    return statistics.fmean(found) if found else None
