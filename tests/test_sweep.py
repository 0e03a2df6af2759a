"""Sweeps: what is planned, and that kills and broken processes lose nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lossrank.config import Recipe, recipe_from
from lossrank.datasets import ImageData
from lossrank.datasets.digits import load_digits
from lossrank.datasets.long_tail import tail
from lossrank.errors import ConfigError, RunError
from lossrank.retrain import retrain
from lossrank.sweep import Variant, plan, sweep, variants

TOLD = {
    "model": {"options": {"width": 4}},
    "train": {"epochs": 2, "batch_size": 16, "padding": 1},
    "budget": {"initial": 20, "step": 10, "final": 40, "candidates": 200},
}


def small(**changes: Any) -> Recipe:
    return recipe_from(TOLD | changes)


def test_a_killed_sweep_gives_what_an_unbroken_one_gives() -> None:
    """Killed once here; `benchmarks/crash_sweep.py` does it ten times."""
    script = Path(__file__).parents[1] / "benchmarks" / "crash_sweep.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "1", "--seeds", "3"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "18 rounds: no row differs" in done.stdout


def deadly(data: Path | None) -> ImageData:
    os.kill(os.getpid(), signal.SIGKILL)
    return load_digits(data)


def test_a_process_that_dies_is_reported_and_stops_no_other(tmp_path: Path) -> None:
    jobs = plan(small(), ["random"], [0, 1], tmp_path)
    jobs += plan(small(dataset=f"{__name__}:deadly"), ["entropy"], [0], tmp_path)
    failed = sweep(jobs, processes=2)
    assert list(failed) == [tmp_path / "entropy-seed0"]
    assert "its process died" in failed[tmp_path / "entropy-seed0"]
    assert [job.done() for job in jobs] == [3, 3, 0]


def test_a_process_takes_no_more_threads_than_the_environment_grants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads on a core that is taken wait for each other: a sweep beside another one took thirty times as long."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert sweep(plan(small(), ["random"], [0], tmp_path), processes=1) == {}
    assert json.loads((tmp_path / "random-seed0" / "environment.json").read_text())["threads"] == 1


def test_overrides_with_several_values_make_variants() -> None:
    assert variants(["train.lr=0.1,0.2", "budget.step=5"]) == [
        Variant({"train.lr": 0.1, "budget.step": 5}),
        Variant({"train.lr": 0.2, "budget.step": 5}),
    ]
    names = [
        job.folder.name
        for job in plan(small(), ["random", "l2r-al"], [0], Path(), variants(["l2r-al:predictor.lr=0.1,0.2"]))
    ]
    assert names == ["random-seed0", "l2r-al-lr=0.1-seed0", "l2r-al-lr=0.2-seed0"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.lr"], "expected field=value"),
        (["train.lr=0.1", "train.lr=0.2"], "twice"),
        (["badge:train.lr=1"], "is for badge; the sweep plays random"),
        (["train.lrr=1"], "did you mean train.lr"),
    ],
)
def test_bad_overrides_are_refused(settings: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(small(), ["random"], [0], Path(), variants(settings))


def test_retraining_continues_and_gives_random_no_other_labels(tmp_path: Path) -> None:
    (job,) = plan(small(), ["ll4al"], [0], tmp_path)
    with pytest.raises(RunError, match="no run with a finished round"):
        retrain(job.folder)
    assert sweep([job]) == {}
    rows = retrain(job.folder)
    assert [row["labelled"] for row in rows] == [20, 30, 40]
    path = job.folder / "selection.jsonl"
    whole = path.read_text()
    path.write_text("".join(whole.splitlines(keepends=True)[:1]))
    assert retrain(job.folder) == rows
    assert path.read_text() == whole


def test_a_long_tail_has_the_sizes_of_its_factor() -> None:
    classes = {f"{index}-{n}": index for index in range(3) for n in range(100)}
    sizes = lambda kept: sorted(sum(classes[i] == index for i in kept) for index in range(3))  # noqa: E731
    assert sizes(tail(classes, 100, 3, seed=0)) == [1, 10, 100]
    assert sizes(tail(classes, 4, 3, seed=0)) == [25, 50, 100]
    assert tail(classes, 100, 3, seed=0) < tail(classes, 4, 3, seed=0)
    assert tail(classes, 4, 3, seed=0) != tail(classes, 4, 3, seed=1)
