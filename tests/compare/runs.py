"""Run folders as a run writes them, with numbers chosen by the test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml


def run_folder(
    folder: Path, strategy: str, seed: int, values: Sequence[float], *, finished: bool = True, **recipe: Any
) -> Path:
    """A run with 10 labels in round 0 and 10 more in each that follows."""
    folder.mkdir(parents=True)
    told = {"task": "classification", "dataset": "digits", "strategy": strategy, "seed": seed, **recipe}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(told))
    lines = []
    for number, value in enumerate(values):
        asked = [] if finished and number == len(values) - 1 else [f"s{number}"]
        metric = {"name": "accuracy", "value": value, "higher_is_better": True, "unit": "%"}
        row = {"round": number, "labelled": 10 + 10 * number, "metric": metric, "asked": asked}
        lines.append(json.dumps(row | {"class_histogram": {"0": 3, "1": 1}, "seconds": {"select": 0.5}}) + "\n")
    (folder / "rounds.jsonl").write_text("".join(lines))
    return folder
