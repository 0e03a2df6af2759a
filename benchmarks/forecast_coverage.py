"""How often the 80 % interval of a forecast holds what the next labels brought, on recorded runs.

    python benchmarks/forecast_coverage.py results

Every run of five rounds or more is cut after each round from the fourth on, the next round is forecast from those
before, and the recorded gain is looked up. Prints the share that held, against a naive rival in the same run: the gain
of the last step, give or take its spread over the steps so far.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from pathlib import Path

from lossrank.forecast import LEAST, LEVEL, forecast
from lossrank.report import Run, find_runs

NORMAL_80 = 1.2816  # half the width of a normal's 80 % interval, in standard deviations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    held, naive, misses = [], [], []
    for run in find_runs(parser.parse_args().runs):
        for last in range(LEAST, len(run.rows)):
            inside, rival, miss = check(run, last)
            held.append(inside)
            naive.append(rival)
            misses.append(miss)
    if not held:
        raise SystemExit(f"no run has {LEAST + 1} rounds or more; there is nothing to forecast")
    share, other = statistics.fmean(held), statistics.fmean(naive)
    print(f"{len(held)} forecasts: {share:.1%} of the {LEVEL:.0%} intervals held, {other:.1%} of the naive ones")
    print(f"mean absolute error of the gain {statistics.fmean(misses):.4g}; 70 to 90 % is wanted")


def check(run: Run, last: int) -> tuple[bool, bool, float]:
    """Whether the interval and the naive one held for round `last`, and the error of the expected gain."""
    assert run.metric is not None  # a run with rows has one
    labels, values = [row.labelled for row in run.rows], [row.value for row in run.rows]
    sign = 1 if run.metric.higher_is_better else -1
    bound = 1.0 if run.metric.unit == "%" else None
    step = labels[last] - labels[last - 1]
    gain, low, high = forecast(labels[:last], values[:last], step, run.metric.higher_is_better, bound)
    seen = sign * (values[last] - values[last - 1])
    steps = [sign * (b - a) for a, b in itertools.pairwise(values[:last])]
    half = NORMAL_80 * statistics.stdev(steps)
    return low <= seen <= high, abs(seen - steps[-1]) <= half, abs(seen - gain)


if __name__ == "__main__":
    main()
