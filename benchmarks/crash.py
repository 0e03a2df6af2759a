"""Kills runs at random instants, continues each, and compares with runs that were never disturbed.

    python benchmarks/crash.py --kills 100

Prints how many kills hit, in which stage, and what was lost; exits with 1 if anything was. Every strategy in
STRATEGIES is killed in turn, each run many times in a row, at instants uniform over the time an undisturbed run takes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lossrank.config import Recipe, recipe_from
from lossrank.folder import load_weights, read_lines
from lossrank.ledger import Ledger

STRATEGIES = ("l2r-al", "lossrank", "ll4al", "random")
KILLS_IN_A_ROW = 5
TIMES = ("seconds", "memory_mb", "peak_memory_mb")  # what two runs of the same recipe may differ in


def short(strategy: str) -> Recipe:
    """Four rounds in under a second."""
    return recipe_from(
        {
            "strategy": strategy,
            "predictor": {"steps": 20} if strategy == "lossrank" else {},
            "model": {"options": {"width": 4}},
            "train": {"epochs": 2, "batch_size": 16, "padding": 1},
            "budget": {"initial": 16, "step": 8, "final": 40, "candidates": 200},
        }
    )


def play(strategy: str, folder: str) -> None:
    """The child that is killed."""
    import torch

    from lossrank.runs import run

    torch.set_num_threads(1)
    run(short(strategy), folder)


def outcome(folder: Path) -> dict[str, Any]:
    """Everything about a finished run that a crash must not change."""
    import json

    rows = [json.loads(line) for line in read_lines(folder / "rounds.jsonl")]
    with Ledger.open(folder / "ledger.sqlite") as ledger:
        batches = [[choice.sample for choice in ledger.batch(number)] for number in range(len(rows))]
        answers = ledger.labelled()
        events = [event.sample for event in ledger.history() if event.kind == "ask"]
    weights = load_weights(next((folder / "weights").glob("*.safetensors")))
    return {
        "rows": [{name: value for name, value in row.items() if name not in TIMES} for row in rows],
        "batches": batches,
        "answers": answers,
        "asked twice": len(events) - len(set(events)),
        "weights": {name: tensor.double().sum().item() for name, tensor in weights.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    context = multiprocessing.get_context("forkserver")  # a child in milliseconds: torch is imported once
    context.set_forkserver_preload(["lossrank.runs", "sklearn.datasets", "torch._dynamo"])
    with tempfile.TemporaryDirectory() as scratch:
        return torment(context, Path(scratch), arguments.kills, random.Random(arguments.seed))


def torment(context: Any, scratch: Path, kills: int, chance: random.Random) -> int:
    undisturbed, lasted = {}, {}
    for strategy in STRATEGIES:
        play_to_the_end(context, strategy, scratch / strategy)  # once to warm the caches
        begin = time.perf_counter()
        play_to_the_end(context, strategy, scratch / f"{strategy}-again")
        lasted[strategy] = time.perf_counter() - begin
        undisturbed[strategy] = outcome(scratch / strategy)
        assert outcome(scratch / f"{strategy}-again") == undisturbed[strategy], "the run itself cannot be repeated"
    hits, differing, victims = 0, [], 0
    while hits < kills:
        strategy = STRATEGIES[victims % len(STRATEGIES)]
        folder = scratch / f"victim-{victims}"
        victims += 1
        for _ in range(min(KILLS_IN_A_ROW, kills - hits)):
            hits += kill_once(context, strategy, folder, chance.uniform(0, lasted[strategy]))
        play_to_the_end(context, strategy, folder)
        if outcome(folder) != undisturbed[strategy]:
            differing.append(folder.name)
    names = ", ".join(STRATEGIES)
    print(f"{hits} kills over {victims} runs of {names}: {len(differing)} runs differ from undisturbed ones")
    return 1 if differing else 0


def kill_once(context: Any, strategy: str, folder: Path, after: float) -> int:
    """1 if the kill hit a living run."""
    child = context.Process(target=play, args=(strategy, str(folder)))
    child.start()
    time.sleep(after)
    alive = child.is_alive()
    if alive:
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    return int(alive and child.exitcode == -signal.SIGKILL)


def play_to_the_end(context: Any, strategy: str, folder: Path) -> None:
    child = context.Process(target=play, args=(strategy, str(folder)))
    child.start()
    child.join()
    if child.exitcode != 0:
        raise SystemExit(f"{strategy} did not finish: exit code {child.exitcode}")


if __name__ == "__main__":
    sys.exit(main())
