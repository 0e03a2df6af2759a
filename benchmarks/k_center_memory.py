"""Greedy k-center from a memory-mapped file: 10,000 picks of 1,000,000 x 128 float16, 1,000 labelled; time and memory.

    OMP_NUM_THREADS=2 python benchmarks/k_center_memory.py [--rows 1000000 --picks 10000] [--data gaussian clusters]

"gaussian" is isotropic, where nothing lies close to anything; "clusters" are 200 of them. The ratio is of the peak to
the size of the matrix in float32, which a version that holds it all needs at the least.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WIDTH, LABELLED, BLOCK = 128, 1000, 65_536


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--picks", type=int, default=10_000)
    parser.add_argument("--data", nargs="+", choices=("gaussian", "clusters"), default=["gaussian", "clusters"])
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.file:
        print(json.dumps(measured(asked.file, asked.rows, asked.picks)))
        return
    for data in asked.data:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "features.f16")
            write(file, asked.rows + LABELLED, data)
            command = [sys.executable, __file__, "--file", str(file)]
            command += ["--rows", str(asked.rows), "--picks", str(asked.picks)]
            found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        whole = asked.rows * WIDTH * 4 / 2**20
        print(
            f"{data}: {asked.picks:,} of {asked.rows:,} x {WIDTH}: {found['seconds']:.1f} s "
            f"({found['cpu']:.1f} s of CPU), peak {found['peak_mib']:,.0f} MiB with the pages of the file, "
            f"{found['peak_mib'] / whole:.2f} of the matrix in float32; {found['distinct']:,} distinct",
            flush=True,
        )


def write(file: Path, rows: int, data: str) -> None:
    rng = np.random.default_rng(0)
    means = 2 * rng.standard_normal((200, WIDTH), np.float32)
    with file.open("wb") as out:
        for start in range(0, rows, BLOCK):
            block = rng.standard_normal((min(BLOCK, rows - start), WIDTH), np.float32)
            if data == "clusters":
                block += means[rng.integers(0, len(means), len(block))]
            block.astype(np.float16).tofile(out)


def measured(file: Path, rows: int, picks: int) -> dict[str, float]:
    from lossrank.strategies.k_center import k_center_greedy

    table = np.memmap(file, np.float16, "r", shape=(rows + LABELLED, WIDTH))
    began, cpu = time.perf_counter(), time.process_time()
    chosen = k_center_greedy(table[LABELLED:], table[:LABELLED], picks)
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "distinct": len(set(chosen)),
    }


if __name__ == "__main__":
    main()
