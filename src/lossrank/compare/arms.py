"""Runs made comparable: the same recipe, the seeds that all have, the numbers of labels that all reached."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossrank.config import settings
from lossrank.errors import ConfigError, RunError, listed, unknown_name
from lossrank.report import MetricInfo, Run, by_strategy, find_runs
from lossrank.report.rows import OWN_FIELDS, OWN_GROUPS

__all__ = ["Comparison", "comparison", "is_full", "named", "read_comparison"]

OF_STRATEGY = (*OWN_GROUPS, "strategy_options")  # fields that are compared among the runs of one strategy alone


@dataclass(frozen=True)
class Comparison:
    """Strategies over the same seeds and the same numbers of labels."""

    metric: MetricInfo
    baseline: str | None
    budgets: tuple[int, ...]
    """Numbers of labels that every run reached."""
    seeds: tuple[int, ...]
    """Seeds that every strategy has."""
    values: Mapping[str, NDArray[np.float64]]
    """The metric of each strategy [seeds, budgets], in the unit it is shown in."""
    runs: tuple[Run, ...]
    """Cut to these seeds and numbers of labels; variants of one strategy carry their own names."""
    full: float | None
    """Mean of what all labels give; None where no run has all of them."""
    notes: tuple[str, ...]
    """What was left out, and what a reader should know."""

    @property
    def sign(self) -> int:
        """1 where a higher metric is better, else -1."""
        return 1 if self.metric.higher_is_better else -1


def read_comparison(
    folders: Iterable[str | Path],
    baseline: str = "random",
    *,
    allow_different: bool = False,
    selection_only: bool = False,
) -> Comparison:
    """Read run folders and make them comparable; errors as `comparison` and `lossrank.report.read_runs`.

    Args:
        selection_only: take the metric from `selection.jsonl`, which `lossrank retrain` writes.
    """
    runs: Sequence[Run] = find_runs(folders)
    if selection_only:
        from lossrank.compare.selection import retrained

        runs = [run if is_full(run) else retrained(run) for run in runs]
    return comparison(runs, baseline, allow_different=allow_different)


def comparison(runs: Sequence[Run], baseline: str = "random", *, allow_different: bool = False) -> Comparison:
    """Cut runs to what all have, and say what was cut.

    Raises:
        RunError: the recipes differ in more than strategy and seed (the fields are named), no run has finished a
            round, or the strategies have no seed or no number of labels in common.
        ConfigError: the baseline is not among the strategies; the default, `random`, may be absent.
    """
    full, runs = [run for run in runs if is_full(run)], [run for run in runs if not is_full(run)]
    notes = _difference_notes(runs, allow_different)
    runs, begun = named(runs), [run for run in runs if run.rows]
    if not begun:
        raise RunError(f"none of the {len(runs)} runs has finished a round; there is nothing to compare yet")
    notes += [f"{run.strategy}, seed {run.seed} has no finished round and is left out." for run in runs if not run.rows]
    groups = by_strategy(run for run in runs if run.rows)
    _check_pairs(groups)
    if baseline not in groups and baseline != "random":
        raise ConfigError(unknown_name("baseline", baseline, groups))
    seeds = _shared_seeds(groups, notes)
    groups = {name: tuple(run for run in group if run.seed in seeds) for name, group in groups.items()}
    budgets = _shared_budgets(groups, notes)
    metric = begun[0].metric
    assert metric is not None  # a run with a row has one
    cut = {name: tuple(_cut(run, budgets) for run in group) for name, group in groups.items()}
    values = {name: np.array([[metric.shown(r.value) for r in run.rows] for run in g]) for name, g in cut.items()}
    if not all(np.isfinite(found).all() for found in values.values()):
        lacking = listed(name for name, found in values.items() if not np.isfinite(found).all())
        raise RunError(f"{metric.name} is not finite in some rounds of {lacking}; a comparison needs every value")
    if baseline not in groups:
        notes.append("There is no run of random: labels saved and differences from a baseline are not told.")
    if len(seeds) == 1:
        notes.append("One seed: no test is made, and no difference can be claimed.")
    reached = [metric.shown(run.rows[-1].value) for run in full if run.rows]
    return Comparison(
        metric,
        baseline if baseline in groups else None,
        tuple(budgets),
        tuple(seeds),
        values,
        tuple(run for group in cut.values() for run in group),
        float(np.mean(reached)) if reached else None,
        tuple(notes),
    )


def is_full(run: Run) -> bool:
    """Whether a run begins with all the labels it will have: the line of full supervision."""
    budget = run.recipe.get("budget") or {}
    return "initial" in budget and budget["initial"] == budget.get("final")


def _difference_notes(runs: Sequence[Run], allowed: bool) -> list[str]:
    different = _differences(runs)
    if different and not allowed:
        fields = "; ".join(f"{name} is {listed(values)}" for name, values in different.items())
        raise RunError(
            f"the runs are of different recipes: {fields}. A difference may come from that alone; "
            "--allow-different compares them all the same"
        )
    return [f"The recipes differ in {name}: {listed(found)}." for name, found in different.items()]


def _differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Fields in which runs differ that should not, with the values found."""
    told = [_fields(run) for run in runs]
    shared = {name: [fields.get(name) for fields in told] for name in _names(told) if not _own(name)}
    found = {name: list(dict.fromkeys(map(str, values))) for name, values in shared.items()}
    for strategy, group in by_strategy(runs).items():
        own = [_fields(run) for run in group]
        for name in filter(_own, _names(own)):
            found[f"{name} of {strategy}"] = list(dict.fromkeys(str(fields.get(name)) for fields in own))
    return {name: values for name, values in found.items() if len(values) > 1}


def _fields(run: Run) -> dict[str, Any]:
    return {name: value for name, value in settings(run.recipe).items() if name not in OWN_FIELDS}


def _names(told: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for fields in told for name in fields))


def _own(name: str) -> bool:
    return name.partition(".")[0] in OF_STRATEGY


def named(runs: Sequence[Run]) -> list[Run]:
    """Runs of one strategy with different recipes under names of their own: `entropy, lr=0.1`."""
    named = []
    for strategy, group in by_strategy(runs).items():
        told = [_fields(run) for run in group]
        varied = [name for name in _names(told) if len({str(fields.get(name)) for fields in told}) > 1]
        for run, fields in zip(group, told, strict=True):
            parts = [f"{name.rpartition('.')[2]}={fields.get(name)}" for name in varied]
            named.append(dataclasses.replace(run, strategy=", ".join([strategy, *parts])))
    return named


def _check_pairs(groups: Mapping[str, Sequence[Run]]) -> None:
    for name, group in groups.items():
        seen: dict[int, Path] = {}
        for run in group:
            if (first := seen.setdefault(run.seed, run.folder)) is not run.folder:
                raise RunError(
                    f"{first} and {run.folder} both hold strategy {name!r} with seed {run.seed}; "
                    "a mean over both would count one seed twice. Give one of them"
                )


def _shared_seeds(groups: Mapping[str, Sequence[Run]], notes: list[str]) -> list[int]:
    by_name = {name: {run.seed for run in group} for name, group in groups.items()}
    shared = sorted(set.intersection(*by_name.values()))
    if not shared:
        each = "; ".join(f"{name} has {listed(sorted(seeds), 10)}" for name, seeds in by_name.items())
        raise RunError(f"the strategies have no seed in common: {each}. A comparison is paired over seeds")
    for name, seeds in by_name.items():
        if more := sorted(seeds - set(shared)):
            notes.append(f"Seeds of {name} that not every strategy has are left out: {listed(more, 10)}.")
    return shared


def _shared_budgets(groups: Mapping[str, Sequence[Run]], notes: list[str]) -> list[int]:
    runs = [run for group in groups.values() for run in group]
    shared = sorted(set.intersection(*({row.labelled for row in run.rows} for run in runs)))
    if not shared:
        raise RunError("the runs have no number of labels in common; they were measured at different budgets")
    unfinished = [f"{run.strategy} seed {run.seed} ({len(run.rows)} rounds)" for run in runs if not run.finished]
    if unfinished:
        notes.append(f"Unfinished: {listed(unfinished, 10)}. All are compared up to {shared[-1]} labels.")
    elif left := sorted({row.labelled for run in runs for row in run.rows} - set(shared)):
        notes.append(f"Not every run was measured at {listed(left)} labels; these are left out.")
    return shared


def _cut(run: Run, budgets: Sequence[int]) -> Run:
    return dataclasses.replace(run, rows=tuple(row for row in run.rows if row.labelled in set(budgets)))
