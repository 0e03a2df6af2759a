"""Greedy weighted coverage: 1,000 picks of 50,000 x 512, 1,000 labelled, on 2 threads; at 10,000 also a plain greedy.

    python -m venv RIVAL && RIVAL/bin/pip install scikit-activeml==1.0.1
    python benchmarks/herding.py [--rival RIVAL/bin/python] [--data gaussian clusters] [--cold]

The plain greedy keeps the dense N x N kernel; its picks must be the same. "gaussian" is isotropic, where nothing lies
close to anything; "clusters" are 100 of them. Weights are uniform between 0 and 1, the bandwidth is the median distance
of a labelled row to the nearest other. `--cold`: 100 picks, nothing labelled, weight 1, bandwidth 1 on rows of unit
length. scikit-activeml's UncertaintyHerding takes weights and a bandwidth of its own, so that its picks differ.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = "2"
WIDTH = 512
SMALL = 10_000  # candidates of which the kernel is kept, 800 MB in float64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rival", type=Path, help="Python with scikit-activeml installed")
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--small", type=int, default=SMALL, help="candidates of the dense reference")
    parser.add_argument("--cold", action="store_true", help="without labelled rows, 100 picks")
    parser.add_argument("--data", nargs="+", choices=("gaussian", "clusters"), default=["gaussian", "clusters"])
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        print(json.dumps(WAYS[asked.way](asked.samples, asked.data[0], asked.cold)))
        return
    for data in asked.data:
        report(Path(sys.executable), "lossrank", asked.samples, data, asked.cold)
        ours = report(Path(sys.executable), "lossrank", asked.small, data, asked.cold)
        plain = report(Path(sys.executable), "plain", asked.small, data, asked.cold)
        same = sum(a == b for a, b in zip(ours["chosen"], plain["chosen"], strict=True))
        print(f"  the plain greedy takes {plain['cpu'] / ours['cpu']:.0f}x the CPU; {same:,} picks are the same")
        if asked.rival:
            report(asked.rival, "scikit-activeml", asked.small, data, asked.cold)


def report(python: Path, way: str, samples: int, data: str, cold: bool) -> dict[str, Any]:
    command = [str(python), __file__, "--way", way, "--data", data, "--samples", str(samples), *["--cold"][:cold]]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), THREADS)
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads}, check=False)
    if done.returncode:
        raise SystemExit(f"{way} failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{data}, {samples:,} candidates, {len(found['chosen']):,} picks, {way}: {found['seconds']:.2f} s "
        f"({found['cpu']:.2f} s of CPU), {found['grown']:.0f} MiB more at the peak",
        flush=True,
    )
    return found


def measured(choose: Callable[[], list[int]]) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.perf_counter(), time.process_time()
    chosen = choose()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": seconds, "cpu": cpu, "grown": grown, "chosen": chosen}


def lossrank(samples: int, data: str, cold: bool) -> dict[str, Any]:
    from lossrank.strategies.herding import herding_greedy

    labelled, candidates, weight, bandwidth, picks = inputs(samples, data, cold)
    herding_greedy(candidates[:2000], weight[:2000], labelled[:100], 5, bandwidth)  # imports and first calls
    return measured(lambda: herding_greedy(candidates, weight, labelled, picks, bandwidth))


def plain(samples: int, data: str, cold: bool) -> dict[str, Any]:
    """The definition with all kernels in float64; gains to 11 digits, the first of equals."""
    import numpy as np
    from scipy.spatial.distance import cdist

    labelled, candidates, weight, bandwidth, picks = inputs(samples, data, cold)

    def choose() -> list[int]:
        rows = candidates.astype(np.float64)
        kernel = np.exp(-((cdist(rows, rows) / bandwidth) ** 2))
        coverage = np.zeros(samples)
        if len(labelled):
            coverage = np.exp(-((cdist(rows, labelled.astype(np.float64)).min(1) / bandwidth) ** 2))
        chosen: list[int] = []
        for _ in range(picks):
            more = kernel - coverage
            more[more <= 1e-12] = 0
            gains = np.array([float(f"{gain:.11g}") for gain in more @ weight])
            gains[chosen] = -1
            chosen.append(int(gains.argmax()))
            np.maximum(coverage, kernel[chosen[-1]], out=coverage)
        return chosen

    return measured(choose)


def scikit_activeml(samples: int, data: str, cold: bool) -> dict[str, Any]:
    import numpy as np
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import UncertaintyHerding
    from sklearn.linear_model import LogisticRegression

    labelled, candidates, _, _, picks = inputs(samples, data, cold)
    features = np.concatenate([labelled, candidates])
    labels = np.full(len(features), np.nan)
    labels[: len(labelled)] = np.arange(len(labelled)) % 2
    head = SklearnClassifier(LogisticRegression(), classes=[0, 1])
    strategy = UncertaintyHerding(random_state=0)
    return measured(
        lambda: [int(row) for row in strategy.query(features, labels, clf=head, batch_size=picks)]  # its own rows
    )


def inputs(samples: int, data: str, cold: bool) -> tuple[Any, Any, Any, float, int]:
    """Labelled [M, 512] and candidates [N, 512] in float32, weights [N], the bandwidth, and how many to pick."""
    import numpy as np

    count = 0 if cold else 1000
    rng = np.random.default_rng(0)
    features = rng.standard_normal((count + samples, WIDTH), np.float32)
    if data == "clusters":
        features += 3 * rng.standard_normal((100, WIDTH), np.float32)[rng.integers(0, 100, len(features))]
    if cold:
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        return features[:0], features, np.ones(samples), 1.0, 100
    labelled = features[:count].astype(np.float64)
    squares = np.square(labelled).sum(1)
    square = squares[:, None] + squares - 2 * labelled @ labelled.T
    np.fill_diagonal(square, np.inf)
    bandwidth = float(np.sqrt(np.median(square.min(1))))
    return features[:count], features[count:], rng.random(samples), bandwidth, 1000


WAYS = {"lossrank": lossrank, "plain": plain, "scikit-activeml": scikit_activeml}


if __name__ == "__main__":
    main()
