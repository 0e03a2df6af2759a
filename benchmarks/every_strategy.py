"""Every strategy on one recipe: accuracy, rank correlation, time to choose and peak memory of each, in one table.

    OMP_NUM_THREADS=1 python benchmarks/every_strategy.py --data path/to/cifar10 --out results/every_strategy \\
        [--recipe recipes/mini/cifar10.yaml] [--seeds 0 1] [--strategies random entropy] [--reduced]

Each run is a run folder below --runs and a process of its own, so that its peak memory is its own; killed and repeated,
the benchmark goes on where it was. A run on the mini recipe takes some four minutes of one core. `--reduced` is a quick
look at whether all of them work: a network of width 4, one epoch a round, 100 to 200 labels, 500 test images.

The last column of time is the ratio of a whole run to one of `random`, for which a choice costs nothing, in this sweep.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "bald": {"model.options.dropout": 0.2},
    "probcover": {"strategy_options": {"clusters": 10}},
    "subsample": {"strategy_options": {"of": "lossrank", "candidates": 2500}},
    "refined": {"strategy_options": {"of": "entropy", "diversity": "k-center"}},
}
"""What a strategy needs beyond the recipe; told below the table."""
CHOOSING = ("health", "select")
"""Stages of a round that choose."""
REDUCED: Mapping[str, Any] = {
    "dataset_options.train_size": 2000,
    "dataset_options.test_size": 500,
    "model.options.width": 4,
    "train.epochs": 1,
    "train.milestones": [],
    "budget.initial": 100,
    "budget.step": 50,
    "budget.final": 200,
    "budget.candidates": 400,
}
REDUCED_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "vaal": {"per_strategy": {"vaal": {"z": 8, "width": 4, "iterations": 5, "batch_size": 16}}},
    "subsample": {"strategy_options": {"of": "lossrank", "candidates": 200}},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/mini/cifar10.yaml"))
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, help="where table.md goes; printed alone if not given")
    parser.add_argument("--runs", type=Path, help="run folders; runs/every_strategy, with -reduced where it is")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--strategies", nargs="+")
    parser.add_argument("--reduced", action="store_true")
    parser.add_argument("--one", nargs=2, metavar=("STRATEGY", "SEED"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.runs = asked.runs or Path("runs/every_strategy" + ("-reduced" if asked.reduced else ""))
    if asked.one:
        play(asked, asked.one[0], int(asked.one[1]))
        return 0
    names = asked.strategies or every_name()
    failed = [job for job in ((n, s) for s in asked.seeds for n in names) if not played(*job)]
    for name, seed in failed:
        print(f"failed: {name}, seed {seed}: {folder_of(asked.runs, name, seed)}", flush=True)
    done = {
        name: [rows_of(asked.runs, name, seed) for seed in asked.seeds if (name, seed) not in failed] for name in names
    }
    written = page(asked, {name: runs for name, runs in done.items() if runs})
    print(written)
    if asked.out:
        from lossrank.folder import write_atomic

        asked.out.mkdir(parents=True, exist_ok=True)
        write_atomic(asked.out / "table.md", written)
    return 1 if failed else 0


def every_name() -> list[str]:
    from lossrank.strategies import STRATEGIES

    return list(STRATEGIES)


def played(name: str, seed: int) -> bool:
    """Play one run in a process of its own, by the same command line; whether it came to its end."""
    print(f"{name}, seed {seed}", flush=True)
    return (
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--one", name, str(seed)], check=False).returncode == 0
    )


def play(asked: argparse.Namespace, name: str, seed: int) -> None:
    from lossrank.config import load_recipe
    from lossrank.runs import run

    fields: dict[str, Any] = {**(REDUCED if asked.reduced else {}), **OPTIONS.get(name, {})}
    fields |= REDUCED_OPTIONS.get(name, {}) if asked.reduced else {}
    recipe = load_recipe(asked.recipe, {**fields, "data": asked.data, "strategy": name, "seed": seed})
    run(recipe, folder_of(asked.runs, name, seed))


def folder_of(runs: Path, name: str, seed: int) -> Path:
    return runs / f"{name}-seed{seed}"


def rows_of(runs: Path, name: str, seed: int) -> list[dict[str, Any]]:
    lines = (folder_of(runs, name, seed) / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def page(asked: argparse.Namespace, done: Mapping[str, Sequence[list[dict[str, Any]]]]) -> str:
    """The table, and what stands below it."""
    import torch

    whole = {name: [sum(sum(row["seconds"].values()) for row in rows) for rows in runs] for name, runs in done.items()}
    base = statistics.mean(whole["random"]) if "random" in whole else None
    first = next(iter(done.values()))[0]
    metric, last = first[0]["metric"], first[-1]["labelled"]
    lines = [
        f"# Every strategy on {asked.recipe}"
        + (", reduced: a check that all run, no comparison" if asked.reduced else ""),
        "",
        f"{metric['name']} in {metric['unit'] or 'its unit'} at {last} labels, and its mean over the rounds; Spearman "
        "of the score with the true loss of held-out samples, mean over the rounds; seconds of a choice, and the most "
        "that memory grew while choosing; a whole run's time beside random's; peak memory of its process. Mean "
        "± sample standard deviation over the seeds.",
        "",
        f"Seeds {', '.join(map(str, asked.seeds))}. Python {platform.python_version()}, torch {torch.__version__}, "
        f"{platform.machine()}, {torch.get_num_threads()} threads.",
        "",
        "| strategy | last round | mean | Spearman | choosing, s | choosing, MB | run / random's | peak, MB |",
        "|---|---|---|---|---|---|---|---|",
        *(row_of(name, runs, base) for name, runs in done.items()),
        "",
        *remarks(asked, done),
    ]
    return "\n".join(lines).rstrip() + "\n"


def row_of(name: str, runs: Sequence[list[dict[str, Any]]], base: float | None) -> str:
    factor = 100 if runs[0][0]["metric"]["unit"] == "%" else 1
    values = [[factor * row["metric"]["value"] for row in rows] for rows in runs]
    ranked = [[row["spearman"] for row in rows if row["spearman"] is not None] for rows in runs]
    # the last round chooses nothing
    choosing = [[sum(row["seconds"].get(stage, 0) for stage in CHOOSING) for row in rows[:-1]] for rows in runs]
    whole = statistics.mean(sum(sum(row["seconds"].values()) for row in rows) for rows in runs)
    cells = [
        told([v[-1] for v in values], 1),
        told([statistics.mean(v) for v in values], 1),
        told([statistics.mean(r) for r in ranked], 2) if all(ranked) else "",
        told([statistics.mean(c) for c in choosing if c], 2),
        grown(runs),
        "" if base is None else f"{whole / base:.2f}",
        f"{max(row['peak_memory_mb'] for rows in runs for row in rows):,.0f}",
    ]
    return f"| {name} | {' | '.join(cells)} |"


def grown(runs: Sequence[list[dict[str, Any]]]) -> str:
    """The most that memory grew in any choice; empty where the system cannot tell."""
    every = (row["memory_mb"].get(stage) for rows in runs for row in rows for stage in CHOOSING)
    found = [grown for grown in every if grown is not None]
    return f"{max(found):,.0f}" if found else ""


def told(values: Sequence[float], digits: int) -> str:
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def remarks(asked: argparse.Namespace, done: Mapping[str, Sequence[list[dict[str, Any]]]]) -> list[str]:
    """What the rows note, and what was set beyond the recipe."""
    found = []
    for name, runs in done.items():
        beyond = REDUCED_OPTIONS.get(name, OPTIONS.get(name)) if asked.reduced else OPTIONS.get(name)
        notes = sorted({note for rows in runs for row in rows for note in row["notes"]})
        if beyond or notes:
            found.append(f"- {name}: " + "; ".join([*([json.dumps(beyond)] if beyond else []), *notes]))
    return found


if __name__ == "__main__":
    sys.exit(main())
