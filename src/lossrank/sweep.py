"""Strategies x seeds: a list of run folders, each a run of its own. No logic beside that.

Killed and repeated, finished runs are read and unfinished ones continue. A run that breaks does not stop the rest.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lossrank.config import Recipe, recipe_from

__all__ = ["Job", "Progress", "plan", "sweep"]


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    recipe: Recipe
    folder: Path

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the finished rounds. Read while the run writes, so a torn last line is left alone."""
        path = self.folder / "rounds.jsonl"
        whole = path.read_text(encoding="utf-8").rpartition("\n")[0] if path.exists() else ""
        return [json.loads(line) for line in whole.splitlines()]


@dataclass(frozen=True)
class Progress:
    """How far a sweep is."""

    jobs: Sequence[Job]
    seconds: float
    failed: dict[Path, str]


def plan(recipe: Recipe, strategies: Sequence[str], seeds: Sequence[int], out: Path) -> list[Job]:
    """The runs of a sweep, seeds first, so that a sweep that is stopped half way has whole comparisons."""
    return [
        Job(dataclasses.replace(recipe, strategy=strategy, seed=seed), out / f"{strategy}-seed{seed}")
        for seed in seeds
        for strategy in strategies
    ]


def sweep(
    jobs: Sequence[Job],
    processes: int = 1,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> dict[Path, str]:
    """Play every run; returns the folders that failed with their errors.

    Args:
        processes: runs at a time; each gets an equal share of the cores.
    """
    threads = max(1, (os.cpu_count() or 1) // processes)
    spawn = multiprocessing.get_context("spawn")  # a forked child would inherit locked thread pools
    failed: dict[Path, str] = {}
    begin = time.monotonic()
    with ProcessPoolExecutor(processes, mp_context=spawn, initializer=_use_threads, initargs=(threads,)) as pool:
        futures = {pool.submit(_play, dataclasses.asdict(job.recipe), job.folder): job for job in jobs}
        waiting: set[Future[None]] = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=0.25)
            failed |= {futures[f].folder: str(f.exception()) for f in done if f.exception() is not None}
            on_progress(Progress(jobs, time.monotonic() - begin, failed))
    return failed


def _use_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _play(recipe: dict[str, object], folder: Path) -> None:
    from lossrank.runs import run  # late: the parent needs no torch to watch

    run(recipe_from(recipe), folder)
