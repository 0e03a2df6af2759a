"""BADGE: 1,000 picks of 50,000 samples, 512 features and 10 classes, on 2 threads; time and memory.

    python benchmarks/badge.py [--rival PYTHON] [--rival-samples 5000 --rival-picks 100]

With --rival, the Python of an environment that holds scikit-activeml (1.0.1 was measured), its Badge runs on the same
numbers at a reduced size and at half of its samples, which says how it grows: its gradients are written out, N x C x D
float64, and every pick reads them all.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

THREADS = "2"
CLASSES, WIDTH = 10, 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rival", type=Path, help="Python with scikit-activeml installed")
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--picks", type=int, default=1000)
    parser.add_argument("--rival-samples", type=int, default=5000)
    parser.add_argument("--rival-picks", type=int, default=100)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        print(json.dumps(WAYS[asked.way](asked.samples, asked.picks)))
        return
    full = report(Path(sys.executable), "lossrank", asked.samples, asked.picks)
    inputs = asked.samples * (CLASSES + WIDTH) * 4 / 2**20
    print(
        f"inputs are {inputs:.0f} MiB; peak grew by {full['growth_mib'] / inputs:.1f} of that; "
        f"gradients written out would be {asked.samples * CLASSES * WIDTH * 4 / 2**20:,.0f} MiB in float32"
    )
    if asked.rival:
        against(asked.rival, asked.rival_samples, asked.rival_picks)


def against(rival: Path, samples: int, picks: int) -> None:
    ours = report(Path(sys.executable), "lossrank", samples, picks)
    theirs = report(rival, "scikit-activeml", samples, picks)
    half = report(rival, "scikit-activeml", samples // 2, picks)
    print(
        f"scikit-activeml takes {theirs['seconds'] / ours['seconds']:.0f}x as long and "
        f"{theirs['growth_mib'] / max(ours['growth_mib'], 1):.0f}x the memory at {samples:,} samples, {picks} picks; "
        f"twice the samples cost it {theirs['seconds'] / half['seconds']:.1f}x"
    )


def report(python: Path, way: str, samples: int, picks: int) -> dict[str, float]:
    command = [str(python), __file__, "--way", way, "--samples", str(samples), "--picks", str(picks)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), THREADS)
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **threads}, check=False)
    if done.returncode:
        raise SystemExit(f"{way} failed: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{way}: {picks:,} of {samples:,}: {found['seconds']:.2f} s, {found['growth_mib']:.0f} MiB more at the peak, "
        f"{picks - found['distinct']} duplicates"
    )
    return found


def lossrank(samples: int, picks: int) -> dict[str, float]:
    import torch

    from lossrank.signals import Signals
    from lossrank.strategies.badge import Badge

    torch.set_num_threads(int(THREADS))
    probabilities, embedding = (torch.from_numpy(part) for part in inputs(samples))
    ids = tuple(f"image-{row:07d}" for row in range(samples))
    small = Signals(ids[:200], {"probabilities": probabilities[:200], "embedding": embedding[:200]})
    Badge().select(small, Signals(()), 20, torch.Generator())  # imports and first calls
    signals = Signals(ids, {"probabilities": probabilities, "embedding": embedding})
    before, began = peak(), time.perf_counter()
    chosen = Badge().select(signals, Signals(()), picks, torch.Generator().manual_seed(0))
    return {
        "seconds": time.perf_counter() - began,
        "growth_mib": peak() - before,
        "distinct": len(set(chosen)),
    }


def scikit_activeml(samples: int, picks: int) -> dict[str, float]:
    import numpy as np
    from skactiveml.base import SkactivemlClassifier
    from skactiveml.pool import Badge

    probabilities, embedding = inputs(samples)

    class Known(SkactivemlClassifier):
        """Answers with probabilities made beforehand."""

        def fit(self, X, y, sample_weight=None):  # noqa: N803
            return self

        def predict_proba(self, X):  # noqa: N803
            return probabilities

    before, began = peak(), time.perf_counter()
    chosen = Badge(random_state=0).query(
        embedding, np.full(samples, np.nan), Known(classes=list(range(CLASSES))), fit_clf=False, batch_size=picks
    )
    return {
        "seconds": time.perf_counter() - began,
        "growth_mib": peak() - before,
        "distinct": len(set(map(int, chosen))),
    }


def inputs(samples: int):
    """Probabilities of a fairly sure model [N, 10] and features after a ReLU [N, 512], float32."""
    import numpy as np

    rng = np.random.default_rng(0)
    embedding = np.maximum(rng.standard_normal((samples, WIDTH), np.float32), 0)
    logits = 3 * rng.standard_normal((samples, CLASSES), np.float32)
    exponents = np.exp(logits - logits.max(1, keepdims=True))
    return exponents / exponents.sum(1, keepdims=True), embedding


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


WAYS = {"lossrank": lossrank, "scikit-activeml": scikit_activeml}


if __name__ == "__main__":
    main()
