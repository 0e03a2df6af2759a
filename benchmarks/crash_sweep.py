"""Kills a sweep of 2 strategies x 10 seeds again and again, continues it, and compares with one that was left alone.

    python benchmarks/crash_sweep.py --kills 10

Only the parent is killed, as a person's `kill -9` does: its children must end with it and leave no folder in use. Each
kill comes at a random instant after a new round was finished. Exits with 1 if a row differs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lossrank.config import recipe_from
from lossrank.sweep import plan, sweep

TIMES = ("seconds", "memory_mb", "peak_memory_mb")  # what two runs of the same recipe may differ in

ROUNDS = 3  # 20, 30 and 40 labels


def play(out: str, seeds: int) -> None:
    """The sweep that is killed."""
    recipe = recipe_from(
        {
            "model": {"options": {"width": 4}},
            "train": {"epochs": 2, "batch_size": 16, "padding": 1},
            "budget": {"initial": 20, "step": 10, "final": 40, "candidates": 200},
        }
    )
    failed = sweep(plan(recipe, ["random", "l2r-al"], range(seeds), Path(out)), processes=2)
    for folder, why in failed.items():
        print(f"{folder.name}: {why}", flush=True)
    sys.exit(len(failed))


def outcome(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each run without what may differ."""
    found = {}
    for path in sorted(out.glob("*/rounds.jsonl")):
        rows = [json.loads(line) for line in path.read_text().rpartition("\n")[0].splitlines()]
        found[path.parent.name] = [{n: v for n, v in row.items() if n not in TIMES} for row in rows]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    seeds = arguments.seeds
    chance, hits = random.Random(0), 0
    with tempfile.TemporaryDirectory() as scratch:
        whole, broken = Path(scratch) / "whole", Path(scratch) / "broken"
        play_to_the_end(whole, seeds)
        for _ in range(arguments.kills):
            hits += kill_once(broken, seeds, chance.uniform(0, 0.1))
        play_to_the_end(broken, seeds)
        same = outcome(whole) == outcome(broken)
        rows = sum(map(len, outcome(whole).values()))
    print(f"{hits} kills of a sweep of {2 * seeds} runs, {rows} rounds: {'no row differs' if same else 'ROWS DIFFER'}")
    return 0 if same and rows == 2 * seeds * ROUNDS else 1


def kill_once(out: Path, seeds: int, after: float) -> int:
    """Kill the sweep `after` seconds past its next finished round; 1 if it still ran."""
    before = sum(map(len, outcome(out).values()))
    child = multiprocessing.get_context("spawn").Process(target=play, args=(str(out), seeds))
    child.start()
    while child.is_alive() and sum(map(len, outcome(out).values())) == before:
        time.sleep(0.02)
    time.sleep(after)
    alive = child.is_alive()
    if alive and child.pid is not None:
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    return int(alive)


def play_to_the_end(out: Path, seeds: int) -> None:
    child = multiprocessing.get_context("spawn").Process(target=play, args=(str(out), seeds))
    child.start()
    child.join()
    if child.exitcode != 0:
        raise SystemExit(f"the sweep did not finish: {child.exitcode} runs failed")


if __name__ == "__main__":
    sys.exit(main())
