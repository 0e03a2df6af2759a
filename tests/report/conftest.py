"""Run folders as a run writes them, with numbers chosen by the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

WriteRun = Callable[..., Path]


def row(number: int, value: float | None, last: bool, **changes: Any) -> dict[str, Any]:
    """One line of rounds.jsonl: 10 labels in round 0, 10 more in each that follows."""
    asked = [] if last else [f"s{number}-{i}" for i in range(10)]
    return {
        "round": number,
        "labelled": 10 + 10 * number,
        "metric": {"name": "accuracy", "value": value, "higher_is_better": True, "unit": "%"},
        "test_loss": 0.3,
        "spearman": None,
        "top10_recall": None,
        "asked": asked,
        "ranked_first": [{"id": i, "score": None, "label": 3} for i in asked[:2]],
        "ranked_last": [],
        "class_histogram": {} if last else {"0": 4, "1": 6},
        "seconds": {"train": 2.0, "select": 0.5},
        "peak_memory_mb": 100.0,
        "unreadable": [],
        "notes": [],
    } | changes


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Write a finished run with the given value in each round; `changes` go into every row."""

    def write(
        strategy: str,
        seed: int,
        values: Sequence[float | None],
        *,
        name: str | None = None,
        finished: bool = True,
        recipe: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Path:
        folder = tmp_path / "runs" / (name or f"{strategy}-{seed}")
        folder.mkdir(parents=True)
        told = {"task": "classification", "dataset": "digits", "strategy": strategy, "seed": seed}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(told | (recipe or {})), encoding="utf-8")
        (folder / "environment.json").write_text(json.dumps({"torch": "2.13.0"}), encoding="utf-8")
        rows = [
            row(place, value, last=finished and place == len(values) - 1, **changes)
            for place, value in enumerate(values)
        ]
        lines = "".join(json.dumps(line) + "\n" for line in rows)
        (folder / "rounds.jsonl").write_text(lines, encoding="utf-8")
        return folder

    return write
