"""Run folders, read back. Nothing here writes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lossrank.errors import RunError, listed
from lossrank.report.rows import MetricInfo, Ranked, Row, Run, ordered, visible

__all__ = ["find_runs", "read_run", "read_runs"]


def read_runs(folders: Iterable[str | Path]) -> tuple[Run, ...]:
    """Every run in or below the given folders, ordered by strategy and seed.

    A folder is either a run folder (it holds `recipe.yaml`) or a folder of them, at any depth. One that was
    named twice counts once.

    Raises:
        RunError: a folder holds no run; a file in it cannot be read; one strategy and seed appears twice; or
            the runs were measured by different metrics.
    """
    runs = find_runs(folders)
    _check_pairs(runs)
    return runs


def find_runs(folders: Iterable[str | Path]) -> tuple[Run, ...]:
    """As `read_runs`, where one strategy and seed may appear in several runs."""
    found = {path.resolve(): path for folder in folders for path in _run_folders(Path(folder))}
    if not found:
        raise RunError("no run folder was given; possible are run folders, or a folder that holds some")
    runs = ordered(read_run(path) for path in found.values())
    _check_metrics(runs)
    return tuple(runs)


def read_run(folder: str | Path) -> Run:
    """One run folder; a last line that a crash cut short is left out, as the round it belongs to is.

    Raises:
        RunError: there is no `recipe.yaml`, or a file holds what no run writes; names file and line.
    """
    folder = Path(folder)
    recipe = _recipe(folder / "recipe.yaml")
    lines = _lines(folder / "rounds.jsonl")
    rows = tuple(_row(line, f"{folder / 'rounds.jsonl'}, line {number}") for number, line in lines)
    _check_rounds(folder, rows)
    metric = _metric(lines[-1][1]) if lines else None
    return Run(
        folder=folder,
        strategy=visible(recipe["strategy"]),
        seed=int(recipe["seed"]),
        recipe=recipe,
        environment=_environment(folder / "environment.json"),
        metric=metric,
        rows=rows,
    )


def _run_folders(folder: Path) -> list[Path]:
    if (folder / "recipe.yaml").is_file():
        return [folder]
    if not folder.is_dir():
        raise RunError(f"there is no folder {folder}; a report is made from run folders")
    below = sorted(path.parent for path in folder.rglob("recipe.yaml"))
    if not below:
        raise RunError(
            f"{folder} holds no run: neither it nor a folder below it has a recipe.yaml. "
            "`lossrank run` makes run folders"
        )
    return below


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


def _check_rounds(folder: Path, rows: Sequence[Row]) -> None:
    for expected, row in enumerate(rows):
        if row.round != expected:
            raise RunError(f"{folder / 'rounds.jsonl'} has round {row.round} where round {expected} belongs")


def _recipe(path: Path) -> dict[str, Any]:
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path.parent} is no run folder: it has no recipe.yaml") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RunError(f"{path} cannot be read as a recipe: {error}") from None
    missing = [name for name in ("strategy", "seed") if not isinstance(recipe, dict) or name not in recipe]
    if missing:
        raise RunError(f"{path} is no recipe of a run: {listed(missing)} missing")
    if not isinstance(recipe["seed"], int):
        raise RunError(f"{path} has the seed {recipe['seed']!r}; a seed is a whole number")
    return dict(recipe)


def _environment(path: Path) -> dict[str, Any]:
    """Empty where the run did not get as far as writing it."""
    try:
        environment = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return environment if isinstance(environment, dict) else {}


def _lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line that ends. The file may still be growing, and is left alone."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error}") from None
    texts = data.decode("utf-8", "replace").split("\n")[:-1]
    found: list[tuple[int, dict[str, Any]]] = []
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
        except ValueError:
            raise RunError(f"{path}, line {number} is no JSON; only the last line may be cut short") from None
        if not isinstance(line, dict):
            raise RunError(f"{path}, line {number} holds {type(line).__name__}; a round is a JSON object")
        found.append((number, line))
    return found


def _row(line: Mapping[str, Any], where: str) -> Row:
    try:
        return Row(
            round=int(line["round"]),
            labelled=int(line["labelled"]),
            value=float(line["metric"]["value"]) if line["metric"]["value"] is not None else math.nan,
            test_loss=_number(line.get("test_loss")),
            spearman=_number(line.get("spearman")),
            top10_recall=_number(line.get("top10_recall")),
            asked=tuple(str(i) for i in line["asked"]),
            ranked_first=tuple(_ranked(item) for item in line.get("ranked_first") or ()),
            ranked_last=tuple(_ranked(item) for item in line.get("ranked_last") or ()),
            class_histogram={str(k): int(n) for k, n in (line.get("class_histogram") or {}).items()},
            seconds={str(k): float(s) for k, s in (line.get("seconds") or {}).items()},
            memory_mb={str(k): float(m) for k, m in (line.get("memory_mb") or {}).items()},
            peak_memory_mb=_number(line.get("peak_memory_mb")),
            unreadable=tuple((str(u["id"]), str(u.get("reason", ""))) for u in line.get("unreadable") or ()),
            notes=tuple(str(note) for note in line.get("notes") or ()),
            score=None if line.get("score") is None else str(line["score"]),
            form=dict(line.get("form") or {}),
            near_duplicates=_number(line.get("near_duplicates")),
        )
    except KeyError as error:
        raise RunError(f"{where} lacks the field {error.args[0]!r}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{where} is no row of a run: {error}") from None


def _metric(line: Mapping[str, Any]) -> MetricInfo:
    metric = line["metric"]
    return MetricInfo(
        visible(metric["name"]), bool(metric.get("higher_is_better", True)), visible(metric.get("unit", ""))
    )


def _ranked(item: Mapping[str, Any]) -> Ranked:
    return Ranked(
        str(item["id"]),
        _number(item.get("score")),
        item.get("label"),
        _number(item.get("loss")),
        item.get("prediction"),
    )


def _number(value: Any) -> float | None:
    """A finite float; None for null and for what is no number, so that no mean is poisoned by it."""
    if value is None or not math.isfinite(float(value)):
        return None
    return float(value)
