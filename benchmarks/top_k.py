"""The k largest of 10^8 streamed scores: growth of memory, and time against NumPy on the whole array.

    python benchmarks/top_k.py [--scores 100000000] [--k 1000]

Each way runs in a process of its own on the same numbers; the ids are made when they are read. The scores are drawn in
blocks of 65,536, and the time of drawing them is taken off.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np

BLOCK = 65_536


class Ids(Sequence[str]):
    """Ids made when they are read."""

    def __init__(self, start: int, count: int) -> None:
        self.start, self.count = start, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> str:  # type: ignore[override]
        return f"image-{self.start + place:09d}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=int, default=100_000_000)
    parser.add_argument("--k", type=int, default=1000)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        print(json.dumps(measured(asked.way, asked.scores, asked.k)))
        return
    for scores in (asked.scores // 10, asked.scores):
        ours, whole = (in_a_process(way, scores, asked.k) for way in WAYS)
        same = "the same" if ours["checksum"] == whole["checksum"] else "ANOTHER"
        print(
            f"top {asked.k:,} of {scores:,}: {ours['seconds']:.2f} s, {ours['growth_mib']:.1f} MiB more at the peak; "
            f"np.argpartition of the whole {whole['seconds']:.2f} s, {whole['growth_mib']:.0f} MiB more: "
            f"{whole['seconds'] / ours['seconds']:.1f}x as long; {same} choice"
        )


def in_a_process(way: str, scores: int, k: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--way", way, "--scores", str(scores), "--k", str(k)]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def measured(way: str, scores: int, k: int) -> dict[str, float]:
    WAYS[way](10 * BLOCK, k)  # what the libraries and one block take is not counted
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, checksum = WAYS[way](scores, k)
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": seconds, "growth_mib": growth, "checksum": checksum}


def blocks(scores: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for start in range(0, scores, BLOCK):
        yield rng.random(min(BLOCK, scores - start), np.float32)


def streamed(scores: int, k: int) -> tuple[float, float]:
    from lossrank.strategies.streaming import top_k

    drawing = 0.0

    def stream() -> Iterator[tuple[Ids, np.ndarray]]:
        nonlocal drawing
        source, start = blocks(scores), 0
        while True:
            began = time.perf_counter()
            block = next(source, None)
            drawing += time.perf_counter() - began
            if block is None:
                return
            yield Ids(start, len(block)), block
            start += len(block)

    began = time.perf_counter()
    best = top_k(stream(), k)
    return time.perf_counter() - began - drawing, sum(score for _, score in best)


def at_once(scores: int, k: int) -> tuple[float, float]:
    whole = np.empty(scores, np.float32)
    start = 0
    for block in blocks(scores):
        whole[start : start + len(block)] = block
        start += len(block)
    began = time.perf_counter()
    best = np.argpartition(whole, -k)[-k:]
    best = best[np.argsort(-whole[best])]
    return time.perf_counter() - began, sum(whole[best].astype(float).tolist())


WAYS = {"streamed": streamed, "at_once": at_once}


if __name__ == "__main__":
    main()
