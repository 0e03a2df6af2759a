"""Run folders and recorded sweeps, read back. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lossrank.errors import ConfigError, RunError, listed
from lossrank.parsing import read_json_object, read_yaml_mapping
from lossrank.report.lines import read_objects, run_of
from lossrank.report.recorded import MANIFEST, read_recorded
from lossrank.report.rows import Run, ordered

__all__ = ["find_runs", "read_run", "read_runs"]


def read_runs(folders: Iterable[str | Path]) -> tuple[Run, ...]:
    """Every run in or below the given folders, ordered by strategy and seed.

    A folder is a run folder (it holds `recipe.yaml`), a recorded sweep (`recorded.json`), or a folder of them,
    at any depth. One that was named twice counts once.

    Raises:
        RunError: a folder holds no run; a file in it cannot be read; one strategy and seed appears twice; or
            the runs were measured by different metrics.
    """
    runs = find_runs(folders)
    _check_pairs(runs)
    return runs


def find_runs(folders: Iterable[str | Path]) -> tuple[Run, ...]:
    """As `read_runs`, where one strategy and seed may appear in several runs."""
    found = {path.resolve(): path for folder in folders for path in _places(Path(folder))}
    if not found:
        raise RunError("at least one run folder, or a folder that holds some, must be given, got none")
    runs = ordered(run for path in found.values() for run in _runs_at(path))
    _check_metrics(runs)
    return tuple(runs)


def read_run(folder: str | Path) -> Run:
    """One run folder; a last line that a crash cut short is left out, as the round it belongs to is.

    Raises:
        RunError: there is no `recipe.yaml`, or a file holds what no run writes; names file and line.
    """
    folder = Path(folder)
    recipe = _recipe(folder / "recipe.yaml")
    path = folder / "rounds.jsonl"
    return run_of(folder, recipe, _environment(folder / "environment.json"), read_objects(path), path)


def _places(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise RunError(f"there is no folder {folder}; a report is made from run folders")
    if any((folder / name).is_file() for name in ("recipe.yaml", MANIFEST)):
        return [folder]
    below = sorted({path.parent for name in ("recipe.yaml", MANIFEST) for path in folder.rglob(name)})
    if not below:
        raise RunError(
            f"{folder} holds no run: neither it nor a folder below it has a recipe.yaml. "
            "`lossrank run` makes run folders"
        )
    return below


def _runs_at(place: Path) -> list[Run]:
    return [read_run(place)] if (place / "recipe.yaml").is_file() else read_recorded(place)


def _check_pairs(runs: Sequence[Run]) -> None:
    seen: dict[tuple[str, int], Path] = {}
    for run in runs:
        first = seen.setdefault((run.strategy, run.seed), run.folder)
        if first is not run.folder:
            raise RunError(
                f"{first} and {run.folder} both hold strategy {run.strategy!r} with seed {run.seed}; "
                "a mean over both would count one seed twice. Give one of them"
            )


def _check_metrics(runs: Sequence[Run]) -> None:
    names = {run.metric: run for run in runs if run.metric is not None}
    if len(names) > 1:
        found = listed(f"{metric.title} in {run.folder}" for metric, run in names.items())
        raise RunError(f"the runs were measured by different metrics: {found}. One report shows one metric")


def _recipe(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise RunError(f"{path.parent} is no run folder: it has no recipe.yaml")
    try:
        recipe = read_yaml_mapping(path)
    except ConfigError as error:
        raise RunError(str(error)) from None
    missing = [name for name in ("strategy", "seed") if name not in recipe]
    if missing:
        raise RunError(f"{path} is no recipe of a run: {listed(missing)} missing")
    if not isinstance(recipe["seed"], int):
        raise RunError(f"{path} has the seed {recipe['seed']!r}; a seed is a whole number")
    return recipe


def _environment(path: Path) -> dict[str, Any]:
    """Empty where the run did not get as far as writing it."""
    try:
        return read_json_object(path)
    except RunError:
        return {}
