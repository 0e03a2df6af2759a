"""How often the 80 % interval of a forecast holds what the next labels brought, on recorded runs.

    python benchmarks/forecast_coverage.py results/faces results/counting results/cifar10_frozen

Every run of five rounds or more is cut after each round from the fourth on, the next round is forecast from those
before, and the recorded gain is looked up. Prints the share that held, against a naive rival in the same run: the gain
of the last step, give or take its spread over the steps so far.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path

from lossrank.forecast import LEAST, LEVEL, forecast
from lossrank.report import Run, find_runs

NORMAL_80 = 1.2816  # half the width of a normal's 80 % interval, in standard deviations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweeps", type=Path, nargs="+", help="folders of runs, or recorded sweeps")
    every: list[tuple[int, bool, bool]] = []
    for sweep in parser.parse_args().sweeps:
        found = [
            (last, *check(run, last)) for run in find_runs([sweep]) for last in range(LEAST, len(run.rows)) if run.rows
        ]
        if found:
            print(told(sweep.name, found))
        else:
            print(f"{sweep.name}: no run has {LEAST + 1} rounds or more; there is nothing to forecast")
        every += found
    if not every:
        raise SystemExit(1)
    for points in sorted({points for points, *_ in every}):
        print(told(f"from {points} points", [one for one in every if one[0] == points]))
    print(told("all", every) + "; 70 to 90 % is wanted")


def told(name: str, found: Sequence[tuple[int, bool, bool]]) -> str:
    held, naive = (statistics.fmean(one[place] for one in found) for place in (1, 2))
    return f"{name}: {len(found)} forecasts, {held:.1%} of the {LEVEL:.0%} intervals held, {naive:.1%} of naive ones"


def check(run: Run, last: int) -> tuple[bool, bool]:
    """Whether the interval and the naive one held for round `last`."""
    assert run.metric is not None  # a run with rows has one
    labels, values = [row.labelled for row in run.rows], [row.value for row in run.rows]
    sign = 1 if run.metric.higher_is_better else -1
    bound = 1.0 if run.metric.unit == "%" else None
    step = labels[last] - labels[last - 1]
    _, low, high = forecast(labels[:last], values[:last], step, run.metric.higher_is_better, bound)
    seen = sign * (values[last] - values[last - 1])
    steps = [sign * (b - a) for a, b in itertools.pairwise(values[:last])]
    half = NORMAL_80 * statistics.stdev(steps)
    return low <= seen <= high, abs(seen - steps[-1]) <= half


if __name__ == "__main__":
    main()
