"""Exact soft ranks: growth of the permutahedron projection, and every form against every other by length and batch.

One thread, wall time of a forward and a backward pass, best of several; ratios are of the same run. Rival: `diffsort`
(Petersen et al. 2021, sorting networks), named as absent where it is not installed (`pip install diffsort --no-deps`).
    python benchmarks/soft_rank.py
"""

from __future__ import annotations

import math
import multiprocessing
import platform
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lossrank.errors import MissingExtra
from lossrank.ranking import permutahedron_ranks, soft_ranks
from lossrank.ranking.diffsort_adapter import diffsort_ranks
from lossrank.ranking.sorters import PairwiseSorter

Ranker = Callable[[Tensor], Tensor]
LENGTHS = [2**power for power in range(2, 13)]
LARGEST = 64 * 4096 * 64  # numbers in a matrix of pairs or a network's layers beyond which a form is left out

FORMS: dict[str, Ranker] = {
    "permutahedron": partial(permutahedron_ranks, temperature=3.0),
    "entropic": partial(permutahedron_ranks, regularisation="entropic"),
    "pairwise": soft_ranks,
    "exa": PairwiseSorter(),
    "diffsort bitonic": partial(diffsort_ranks, network="bitonic"),
    "diffsort odd-even": partial(diffsort_ranks, network="odd_even"),
}


def main() -> None:
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.machine()}, {torch.get_num_threads()} thread\n")
    growth()
    for batch in (1, 64):
        table(batch)


def growth() -> None:
    """Time and memory of one long list against one torch.sort of it."""
    print("| n | torch.sort, ms | quadratic, ms | of the sort | entropic, ms | of the sort | bytes an element |")
    print("|---|---|---|---|---|---|---|")
    for power in range(2, 7):
        n = 10**power
        values = torch.randn(n)
        passes = 20 if n < 10**5 else 5
        sort = best(lambda v=values: v.sort(), passes)
        times = [best(partial(both_ways, FORMS[name], values), passes) for name in ("permutahedron", "entropic")]
        shown = " | ".join(f"{1e3 * t:.3f} | {t / sort:.1f}x" for t in times)
        print(f"| {n:,} | {1e3 * sort:.3f} | {shown} | {memory(n)} |", flush=True)
    print()


def memory(n: int) -> str:
    """Peak resident bytes an element of a forward and backward pass, in a process of its own."""
    if n < 10**5:
        return ""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return f"{pool.apply(peak, (n,)) / n:.0f}"


def peak(n: int) -> int:
    torch.set_num_threads(1)
    both_ways(FORMS["permutahedron"], torch.randn(1000))
    values = torch.randn(n)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of importing (Linux)
    before = high_water()
    both_ways(FORMS["permutahedron"], values)
    return high_water() - before


def high_water() -> int:
    """Peak resident bytes of this process since it was last forgotten."""
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def table(batch: int) -> None:
    """Milliseconds of every form, the fastest in bold."""
    print(f"Batch of {batch}, ms\n\n| n | " + " | ".join(FORMS) + " |\n|---|" + "---|" * len(FORMS))
    for n in LENGTHS:
        values = torch.randn(batch, n)
        times = {name: measured(name, form, values) for name, form in FORMS.items()}
        fastest = min((t for t in times.values() if t is not None), default=None)
        cells = [
            "" if t is None else f"**{1e3 * t:.3f}**" if t == fastest else f"{1e3 * t:.3f}" for t in times.values()
        ]
        print(f"| {n} | " + " | ".join(cells) + " |", flush=True)
    print()


def measured(name: str, form: Ranker, values: Tensor) -> float | None:
    """Seconds; None where the form would need too much memory or is not installed."""
    batch, n = values.shape
    if name == "exa" and batch > 1:  # one list at a time, as SoDeep's
        return None
    network = name.startswith("diffsort")
    layers = (math.log2(n) * (math.log2(n) + 1) / 2 if "bitonic" in name else n) if network else 1
    if name not in ("permutahedron", "entropic") and batch * n * n * layers > LARGEST:
        return None
    try:
        return best(partial(both_ways, form, values), 5 if n > 512 or network else 30)
    except MissingExtra:
        return None


def both_ways(form: Ranker, values: Tensor) -> None:
    values = values.detach().requires_grad_()
    form(values).square().sum().backward()


def best(run: Callable[[], object], passes: int) -> float:
    run()
    shortest = math.inf
    for _ in range(passes):
        began = time.perf_counter()
        run()
        shortest = min(shortest, time.perf_counter() - began)
    return shortest


if __name__ == "__main__":
    main()
