"""The final table: mean ± sample standard deviation per number of labels and strategy."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lossrank.errors import RunError
from lossrank.report.rows import MetricInfo, Row, Run, by_strategy
from lossrank.statistics import LEVEL, holm, paired_p

__all__ = ["Cell", "FinalTable", "Grid", "final_table", "grid", "level_with_best"]

SPEARMAN = "Spearman of score and true test loss"
EMPTY = "–"  # noqa: RUF001 - a dash for "no value"


@dataclass(frozen=True)
class Cell:
    """What the seeds of one strategy reached with one number of labels."""

    values: Mapping[int, float]
    """By seed."""

    @property
    def n(self) -> int:
        """How many seeds."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Over the seeds; NaN where there is none."""
        return statistics.fmean(self.values.values()) if self.values else math.nan

    @property
    def sd(self) -> float | None:
        """Sample standard deviation (n - 1); None for one seed, which has none."""
        return statistics.stdev(self.values.values()) if self.n > 1 else None


@dataclass(frozen=True)
class Grid:
    """One quantity: numbers of labels down, strategies across."""

    title: str
    labels: tuple[int, ...]
    strategies: tuple[str, ...]
    cells: Mapping[tuple[int, str], Cell]
    decimals: int
    level: Mapping[int, frozenset[str]]
    """For each number of labels the best strategy and those that cannot be told from it."""

    def bold(self, labelled: int, strategy: str) -> bool:
        """The best mean, and told apart from every other: no smaller claim is honest in bold."""
        return len(self.strategies) > 1 and self.level[labelled] == {strategy}

    def text(self, labelled: int, strategy: str) -> str:
        """`98.3 ± 0.4`; without ± for one seed; with `(n=2)` where seeds are missing."""
        cell = self.cells.get((labelled, strategy))
        if cell is None or cell.n == 0:
            return EMPTY
        most = max(other.n for other in self.cells.values())
        spread = "" if cell.sd is None else f" ± {cell.sd:.{self.decimals}f}"
        return f"{cell.mean:.{self.decimals}f}{spread}" + (f" (n={cell.n})" if cell.n < most else "")


@dataclass(frozen=True)
class FinalTable:
    """The metric and, where a strategy scores samples, Spearman of its score with the true loss."""

    metric: MetricInfo
    values: Grid
    spearman: Grid | None
    seeds: Mapping[str, tuple[int, ...]]
    unfinished: tuple[str, ...]

    @property
    def captions(self) -> tuple[str, ...]:
        """What the numbers mean, in sentences: seeds, spread, and what bold says."""
        return (_seed_caption(self.seeds), *_bold_caption(self))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is missing from the numbers, in sentences."""
        return (f"Unfinished, shown as far as they got: {', '.join(self.unfinished)}.",) if self.unfinished else ()


def final_table(runs: Sequence[Run]) -> FinalTable:
    """Mean and sample standard deviation over the seeds, in the unit the metric is shown in.

    Unfinished runs count with the rounds they have, and are named.

    Raises:
        RunError: no run has a finished round.
    """
    metric = next((run.metric for run in runs if run.metric is not None), None)
    if metric is None:
        raise RunError(f"none of the {len(runs)} runs has finished a round; there is nothing to show yet")
    groups = by_strategy(runs)
    values = grid(metric.title, groups, lambda row: metric.shown(row.value), metric.higher_is_better)
    if not values.cells:
        raise RunError(f"no finished round has a finite {metric.name}; there is nothing to show")
    spearman = grid(SPEARMAN, groups, lambda row: row.spearman, higher_is_better=True, decimals=2)
    return FinalTable(
        metric=metric,
        values=values,
        spearman=spearman if spearman.cells else None,
        seeds={name: tuple(run.seed for run in group) for name, group in groups.items()},
        unfinished=tuple(
            f"{run.strategy} seed {run.seed} ({len(run.rows)} rounds)" for run in runs if not run.finished
        ),
    )


def level_with_best(cells: Mapping[str, Cell], higher_is_better: bool) -> frozenset[str]:
    """The strategy with the best mean, and all that cannot be told from it.

    Each is compared with the best by a paired t-test over the seeds, with Holm's correction over the
    strategies, at the 5 % level. With one seed, or where strategies do not share all seeds, nothing is told
    apart.
    """
    seeds = {frozenset(cell.values) for cell in cells.values()}
    if len(cells) < 2 or len(seeds) != 1 or len(next(iter(seeds))) < 2:
        return frozenset(cells)
    best = (max if higher_is_better else min)(cells, key=lambda name: cells[name].mean)
    p_values = {
        name: paired_p([cells[best].values[seed] - cell.values[seed] for seed in cell.values])
        for name, cell in cells.items()
        if name != best
    }
    return frozenset(cells) - {name for name, p in holm(p_values).items() if p <= LEVEL}


def grid(
    title: str,
    groups: Mapping[str, Sequence[Run]],
    value: Callable[[Row], float | None],
    higher_is_better: bool,
    decimals: int | None = None,
) -> Grid:
    """One quantity of the rows by number of labels and strategy; rows that have none are left out."""
    found: dict[tuple[int, str], dict[int, float]] = {}
    for strategy, runs in groups.items():
        for run in runs:
            for row in run.rows:
                number = value(row)
                if number is not None and math.isfinite(number):
                    found.setdefault((row.labelled, strategy), {})[run.seed] = number
    cells = {key: Cell(values) for key, values in found.items()}
    labels = tuple(sorted({labelled for labelled, _ in cells}))
    strategies = tuple(name for name in groups if any(name == strategy for _, strategy in cells))
    rows = {n: {name: cells[n, name] for name in strategies if (n, name) in cells} for n in labels}
    level = {n: level_with_best(row, higher_is_better) for n, row in rows.items()}
    if decimals is None:
        decimals = _decimals(cell.mean for cell in cells.values())
    return Grid(title, labels, strategies, cells, decimals, level)


def _decimals(means: Iterable[float]) -> int:
    """Three significant figures of the largest: 98.3, 10.4, 0.123; at least one decimal."""
    largest = max((abs(mean) for mean in means), default=0.0)
    return max(1, min(4, 2 - math.floor(math.log10(largest)))) if largest > 0 else 1


def _seed_caption(seeds: Mapping[str, tuple[int, ...]]) -> str:
    counts = sorted({len(found) for found in seeds.values()})
    if counts == [1]:
        return "One seed: no spread is known, and no difference can be claimed."
    if len(counts) == 1:
        return f"Mean ± sample standard deviation over {counts[0]} seeds."
    each = ", ".join(f"{name} {len(found)}" for name, found in seeds.items())
    return f"Mean ± sample standard deviation over the seeds, whose number differs: {each}."


def _bold_caption(table: FinalTable) -> tuple[str, ...]:
    if max(len(found) for found in table.seeds.values()) < 2 or len(table.seeds) < 2:
        return ()
    grids = [grid for grid in (table.values, table.spearman) if grid is not None]
    rule = "told apart from every other (paired t-test over the seeds, 5 %, Holm)"
    bold = any(len(level) == 1 for grid in grids if len(grid.strategies) > 1 for level in grid.level.values())
    return (f"Bold: the best mean, where it is {rule}.",) if bold else (f"No mean is {rule}: none is bold.",)
