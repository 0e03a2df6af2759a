"""Memory of choosing by core-set under a budget: 200,000 embeddings of 256 numbers with max_memory 64MB, and without.

    OMP_NUM_THREADS=1 python benchmarks/budget_memory.py [--samples 200000 --picks 100 --budget 64MB]

Both in a process of their own, over a pool whose samples are made when they are read. Printed is by how much the
process's own memory grows at its peak (anonymous pages, looked at every 5 ms: what the kernel cannot drop), and by how
much the resident memory does, pages of the file included, which the kernel drops when another needs them. Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

WIDTH, LABELLED = 256, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--picks", type=int, default=100)
    parser.add_argument("--budget", default="64MB")
    parser.add_argument("--way", choices=("budget", "free"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        print(json.dumps(measured(asked.samples, asked.picks, asked.budget if asked.way == "budget" else None)))
        return
    free, budget = (report(way, asked) for way in ("free", "budget"))
    same = len(set(free["chosen"]) & set(budget["chosen"]))
    print(
        f"with {asked.budget} the process grows by {budget['own'] / free['own']:.2f} of what it does without, resident "
        f"memory by {budget['resident'] / free['resident']:.2f}; {same} of {asked.picks} choices are the same"
    )


def report(way: str, asked: argparse.Namespace) -> dict[str, object]:
    command = [sys.executable, __file__, "--way", way, "--samples", str(asked.samples)]
    command += ["--picks", str(asked.picks), "--budget", asked.budget]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    print(
        f"{way}: {found['seconds']:.1f} s, grows by {found['own']:.0f} MiB of its own, "
        f"{found['resident']:.0f} MiB resident",
        flush=True,
    )
    return found


def measured(samples: int, picks: int, budget: str | None) -> dict[str, object]:
    import torch
    from torch import nn

    from lossrank.choosing import choose
    from lossrank.collect import View
    from lossrank.config import Recipe
    from lossrank.experiment import Experiment
    from lossrank.pool import Pool
    from lossrank.runtime import Runtime
    from lossrank.strategies import CoreSet
    from lossrank.tasks import Classification
    from lossrank.transforms import Normalise

    class Made:
        ids = tuple(f"image-{n * 1_999_993 % 10**7:07d}.jpg" for n in range(samples + LABELLED))

        def __len__(self) -> int:
            return len(self.ids)

        def __getitem__(self, index: int) -> torch.Tensor:
            return basis[index % 997] * (1 + index % 31) + basis[index % 61]

    basis = torch.randn(997, WIDTH, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Identity(), nn.Linear(WIDTH, 10))
    task, pool = Classification(tuple("0123456789"), lambda generator: model, ("0",)), Pool(Made(), targets=False)
    same, runtime = Normalise(), Runtime(torch.device("cpu"))
    view = View(model, task, same, runtime, 256)

    def chosen(count: int) -> list[str]:
        recipe = Recipe(max_memory=budget if count == samples else None)
        made = Experiment(recipe, task, CoreSet(), pool, pool, dict, same, same, runtime)
        found = choose(made, view, pool.ids[:count], pool.ids[samples:], picks if count == samples else 5, 0)
        return [sample for sample, _ in found.asked]

    chosen(2000)  # imports and first calls
    with Peak() as peak:
        began = time.perf_counter()
        names = chosen(samples)
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "own": peak.own, "resident": peak.resident, "chosen": names}


class Peak:
    """By how many MiB this process grows inside: `own` without the pages of files, `resident` with them."""

    def __enter__(self) -> Peak:
        self.own = self.resident = 0.0
        self.before, self.over = self._look(), threading.Event()
        self.watch = threading.Thread(target=self._watch)
        self.watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.watch.join()

    def _watch(self) -> None:
        while not self.over.wait(0.005):
            own, resident = (now - then for now, then in zip(self._look(), self.before, strict=True))
            self.own, self.resident = max(self.own, own), max(self.resident, resident)

    def _look(self) -> tuple[float, float]:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(status["RssAnon"].split()[0]) / 1024, int(status["VmRSS"].split()[0]) / 1024


if __name__ == "__main__":
    main()
