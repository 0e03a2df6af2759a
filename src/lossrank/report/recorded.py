"""A sweep in two small files, to be kept and shown when its run folders are gone.

`recorded.json` says what was run: title, commands, the recipe and environment that all runs share, and of each run
what is its own. `rows.jsonl` has a line for each finished round: what was measured. Left out are the samples, asked for
and ranked first and last, which are nine tenths of a run's lines. Nothing in either names a place of the machine. What
reads run folders reads this too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lossrank.errors import RunError
from lossrank.folder import write_atomic
from lossrank.parsing import MALFORMED, read_json_object
from lossrank.report.lines import Line, read_objects, run_of
from lossrank.report.rows import Run

__all__ = ["MANIFEST", "ROWS", "facts_of", "read_recorded", "write_recorded"]

MANIFEST, ROWS = "recorded.json", "rows.jsonl"
FORMAT = 1
KEPT = (
    *("round", "labelled", "metric", "train_loss", "test_loss", "spearman", "spearman_batches"),
    *("top10_recall", "by_hand", "score"),
    *("seconds", "memory_mb", "peak_memory_mb", "class_histogram", "near_duplicates", "notes", "chosen_by", "health"),
)
PLACE = re.compile(r"(?<![\w/:.])(?:~|[A-Za-z]:)?/(?:[^\s/'\"]+/)*([^\s/'\"]+)/?")  # an absolute path, but no URL


def write_recorded(runs: Sequence[Run], out: Path, title: str, commands: Sequence[str]) -> int:
    """Record finished runs; returns the bytes written. Files are replaced whole, so that a sweep is recorded anew.

    Args:
        runs: run folders that were read; each finished, all with folders of different names.
        commands: command lines that make the runs again.

    Raises:
        RunError: a run is not finished, two folders have one name, or something cannot be read or written.
    """
    names = [run.folder.name for run in runs]
    unfinished = [name for name, run in zip(names, runs, strict=True) if not run.finished]
    if unfinished or len(set(names)) < len(names) or not runs:
        raise RunError(
            f"runs to be recorded must be finished, each with a name of its own, got {len(runs)} runs with "
            f"{len(set(names))} names, {len(unfinished)} of them unfinished"
        )
    shared = {what: _shared([getattr(run, what) for run in runs]) for what in ("recipe", "environment")}
    own = [
        {"run": name} | {what: _without(getattr(run, what), shared[what]) for what in shared}
        for name, run in zip(names, runs, strict=True)
    ]
    facts = {"format": FORMAT, "title": title, "commands": list(commands), **shared, "runs": own}
    rows = "".join(_line(run, line) for run in runs for _, line in read_objects(run.folder / "rounds.jsonl"))
    told = json.dumps(_placeless(facts), indent=1) + "\n"
    write_atomic(out / ROWS, rows)
    write_atomic(out / MANIFEST, told)
    return len(rows.encode()) + len(told.encode())


def read_recorded(folder: Path) -> list[Run]:
    """The runs of a recorded sweep; each has a folder of its name, which is not there.

    Raises:
        RunError: a file is damaged or of a newer format; names it.
    """
    facts = facts_of(folder)
    lines: dict[str, list[Line]] = {}
    for number, line in read_objects(folder / ROWS):
        # Every run that is recorded has finished, as the rows of a run that asks for nothing say.
        lines.setdefault(str(line.get("run")), []).append((number, {**line, "asked": ()}))
    try:
        return [
            run_of(
                folder / own["run"],
                {**facts["recipe"], **own["recipe"]},
                {**facts["environment"], **own["environment"]},
                lines.get(own["run"], ()),
                folder / ROWS,
            )
            for own in facts["runs"]
        ]
    except MALFORMED as error:
        raise RunError(f"{folder / MANIFEST} is no record of a sweep: {error!r}") from None


def facts_of(folder: Path) -> dict[str, Any]:
    """What `recorded.json` says; errors as `read_recorded`."""
    path = folder / MANIFEST
    try:
        facts = read_json_object(path)
        version = int(facts["format"])
    except (RunError, *MALFORMED) as error:
        raise RunError(f"{path} is no record of a sweep: {error!r}") from None
    if version > FORMAT:
        raise RunError(f"{path} has format {version}; this version of lossrank reads up to {FORMAT}")
    return facts


def _shared(mappings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The fields that are the same in all."""
    first, *others = mappings
    return {name: value for name, value in first.items() if all(name in o and o[name] == value for o in others)}


def _without(mapping: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in shared}


def _line(run: Run, line: Mapping[str, Any]) -> str:
    who = {"run": run.folder.name, "strategy": run.strategy, "seed": run.seed}
    return json.dumps(_placeless(who | {name: line[name] for name in KEPT if name in line})) + "\n"


def _placeless(value: Any) -> Any:
    """The value with each absolute path cut to its last name."""
    if isinstance(value, str):
        return PLACE.sub(r"\1", value)
    if isinstance(value, Mapping):
        return {name: _placeless(part) for name, part in value.items()}
    return [_placeless(part) for part in value] if isinstance(value, list | tuple) else value
