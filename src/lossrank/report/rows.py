"""What a run left behind, as values: what was run, and one row for each finished round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lossrank.config import BY_STRATEGY, settings
from lossrank.console import printable

__all__ = [
    "MetricInfo",
    "Ranked",
    "Row",
    "Run",
    "by_strategy",
    "differing_fields",
    "ordered",
    "visible",
]

# Reading order of the strategies we know; others follow by name.
ORDER = (
    "random",
    "entropy",
    "core-set",
    "badge",
    "vaal",
    "tod",
    "ll4al",
    "rank-all-features",
    "l2r-al",
    "lossrank",
)
# What may differ between runs that are shown side by side.
OWN_FIELDS = frozenset({"strategy", "seed", "out"})
OWN_GROUPS = ("predictor", *BY_STRATEGY)


@dataclass(frozen=True)
class MetricInfo:
    """What the metric is called, which direction is better, and how a value is shown."""

    name: str
    higher_is_better: bool
    unit: str = ""

    @property
    def title(self) -> str:
        """The name with its unit: `accuracy (%)`."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def shown(self, value: float) -> float:
        """The value in the unit of `title`: a fraction becomes per cent."""
        return 100 * value if self.unit == "%" else value


@dataclass(frozen=True)
class Ranked:
    """A sample that a strategy put first or last; None stands where something is not known."""

    id: str
    score: float | None
    answer: Any
    """Plain JSON in the row's form."""
    loss: float | None = None
    """What the model lost on it."""
    prediction: Any = None
    """What the model said of it, in the row's form."""
    percentile: float | None = None
    """Of the score among those of all candidates, 0 to 100; shown instead of the score."""


@dataclass(frozen=True)
class Row:
    """One finished round: the model trained with `labelled` samples, and what was asked next."""

    round: int
    labelled: int
    value: float
    test_loss: float | None
    spearman: float | None
    top10_recall: float | None
    asked: tuple[str, ...]
    ranked_first: tuple[Ranked, ...]
    ranked_last: tuple[Ranked, ...]
    class_histogram: Mapping[str, int]
    seconds: Mapping[str, float]
    peak_memory_mb: float | None
    unreadable: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    score: str | None = None
    """Name of the column that samples were ranked by."""
    form: Mapping[str, Any] = field(default_factory=dict)
    """What answers and predictions are: a `kind`, and what is needed to draw it."""
    near_duplicates: float | None = None
    """Share of what was asked that looks like something else that was asked with it."""
    chosen_by: str | None = None
    """The strategy that `auto` chose by."""
    health: Mapping[str, Any] | None = None
    """What `auto` found before it chose: `samples`, `folds`; by score `spearman`, `top10_recall`, with intervals."""
    by_hand: Mapping[str, float] = field(default_factory=dict)
    """Spearman of each column that was made by hand, on the same model as `spearman`."""
    memory_mb: Mapping[str, float] = field(default_factory=dict)
    """By stage: the growth of resident memory during it, MiB; empty where the system cannot tell."""


@dataclass(frozen=True)
class Run:
    """One run folder: one strategy with one seed."""

    folder: Path
    strategy: str
    seed: int
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    metric: MetricInfo | None
    rows: tuple[Row, ...]

    @property
    def finished(self) -> bool:
        """The last round asks for nothing more."""
        return bool(self.rows) and not self.rows[-1].asked


def ordered(runs: Iterable[Run]) -> list[Run]:
    """Runs in the order of reports: by strategy, then by seed."""
    return sorted(runs, key=lambda run: (*_place(run.strategy), run.seed))


def by_strategy(runs: Iterable[Run]) -> dict[str, tuple[Run, ...]]:
    """Runs of each strategy, in the order of the strategies' names in reports; seeds ascending."""
    groups: dict[str, list[Run]] = {}
    for run in ordered(runs):
        groups.setdefault(run.strategy, []).append(run)
    return {name: tuple(group) for name, group in groups.items()}


def differing_fields(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """The recipe's dotted fields that are not the same in all runs, with the values found.

    Left out: strategy, seed, the strategy's predictor and options by its name, and what may move with the machine.
    """
    recipes = [settings(run.recipe) for run in runs]
    names = dict.fromkeys(name for recipe in recipes for name in recipe)
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        values = tuple(dict.fromkeys(str(recipe.get(name)) for recipe in recipes))
        if len(values) > 1 and name not in OWN_FIELDS and name.partition(".")[0] not in OWN_GROUPS:
            found[name] = values
    return found


def visible(text: object) -> str:
    """Text in which nothing hides: control, direction and undecodable characters are written as escapes."""
    return printable(str(text), keep="")


def _place(strategy: str) -> tuple[int, str]:
    return (ORDER.index(strategy) if strategy in ORDER else len(ORDER), strategy)
