"""Whether `auto` is honest and worth its trainings, on recorded sweeps in which it was played.

    python benchmarks/health.py results/faces results/counting results/pose results/cifar10

For each sweep: its cross-fitted Spearman less that on the test set, both of one round, mean over the rounds and then
over the seeds (wanted: within 0.05); how often it chose by what; and how much better its area under the curve is
than that of each of the two it chooses between, paired over the seeds they share (wanted: not significantly below 0).
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lossrank.compare import contrast
from lossrank.report import Run, find_runs

WANTED = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweeps", type=Path, nargs="+")
    for sweep in parser.parse_args().sweeps:
        print(f"{sweep.name}: " + "; ".join(told(find_runs([sweep]))))


def told(runs: Sequence[Run]) -> list[str]:
    """What there is to say of one sweep."""
    gaps = {run.seed: gap for run in runs if run.strategy == "auto" and (gap := gap_of(run)) is not None}
    if not gaps:
        return ["no run of auto in which a score was measured on held-out labels"]
    mean = statistics.fmean(gaps.values())
    spread = f" +- {statistics.stdev(gaps.values()):.3f}" if len(gaps) > 1 else ""
    verdict = "within" if abs(mean) <= WANTED else "NOT within"
    chosen = Counter(row.chosen_by for run in runs if run.strategy == "auto" for row in run.rows if row.health)
    return [
        f"health less test {mean:+.3f}{spread} ({len(gaps)} seeds), {verdict} {WANTED}",
        "chose by " + ", ".join(f"{name} {times} times" for name, times in chosen.most_common()),
        *(beside(runs, other) for other in ("lossrank", "entropy")),
    ]


def gap_of(run: Run) -> float | None:
    """Mean over the rounds that have both figures; None without one."""
    found = [
        row.health["scores"][row.score]["spearman"][0] - row.spearman
        for row in run.rows
        if row.health and row.spearman is not None and row.health["scores"][row.score]["spearman"] is not None
    ]
    return statistics.fmean(found) if found else None


def beside(runs: Sequence[Run], other: str) -> str:
    """The paired difference of the areas under the curves."""
    found = contrast(runs, "auto", other)
    if found is None:
        return f"no {other} to compare with"
    paired = found.paired
    return (
        f"auto better than {other} by {paired.difference:+.3g} [{paired.low:.3g}, {paired.high:.3g}], p {paired.p:.2g}"
    )


if __name__ == "__main__":
    main()
